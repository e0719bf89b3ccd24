-- Makes, from the catalogue, the pieces of SQL for each table of a run, and refuses a schema that has moved.
-- Types are named with their schemas: the run may be gone on with under another search_path.
CREATE OR REPLACE FUNCTION cutover.prepare(p_run uuid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
DECLARE
    tg cutover.target;
    att record;
    oid_of oid;
    kind "char";
    pos integer;
    l_cells text[];
    l_pre text[];
    l_add text[];
    l_post text[];
    l_match text[];
    l_shape text;
    l_known text[];
BEGIN
    IF current_setting('track_counts') <> 'on' THEN
        RAISE EXCEPTION 'track_counts is off in this database: what triggers write could not be seen'
            USING ERRCODE = 'CU010';
    END IF;
    FOR tg IN SELECT * FROM cutover.target WHERE run = p_run ORDER BY tbl LOOP
        tg.rel := format('%I.%I', tg.schema_name, tg.table_name);
        oid_of := to_regclass(tg.rel);
        IF oid_of IS NULL THEN
            RAISE EXCEPTION 'the table %.% is gone', tg.schema_name, tg.table_name USING ERRCODE = 'CU010';
        END IF;
        SELECT relkind INTO kind FROM pg_class WHERE oid = oid_of;
        FOR att IN
            SELECT rulename::text AS name FROM pg_rewrite
            WHERE ev_class = oid_of AND ev_enabled <> 'D' AND ev_type::text IN (
                SELECT CASE action WHEN 'u' THEN '2' WHEN 'i' THEN '3' ELSE '4' END
                FROM cutover.step WHERE run = p_run AND tbl = tg.tbl)
        LOOP
            RAISE EXCEPTION 'the rule % of %.% would write something else in place of these changes, or beside them',
                att.name, tg.schema_name, tg.table_name USING ERRCODE = 'CU012';
        END LOOP;
        tg.scan := CASE kind WHEN 'p' THEN tg.rel ELSE 'ONLY ' || tg.rel END;
        l_cells := '{}'; l_pre := '{}'; l_add := '{}'; l_post := '{}'; l_match := '{}'; l_shape := ''; l_known := '{}';
        FOR att IN
            SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type, atttypid AS type_oid,
                   attgenerated <> '' AS generated
            FROM pg_attribute WHERE attrelid = oid_of AND attnum > 0 AND NOT attisdropped ORDER BY attnum
        LOOP
            l_shape := l_shape || format('%I %s%s,', att.name, att.type, CASE WHEN att.generated THEN ' generated' ELSE '' END);
            pos := array_position(tg.columns, att.name);
            IF pos IS NULL OR att.name = ANY (tg.absent) THEN
                RAISE EXCEPTION '%.% has a column % that it did not have when the bundle was made',
                    tg.schema_name, tg.table_name, att.name USING ERRCODE = 'CU010';
            END IF;
            l_known := l_known || att.name;
            IF att.name = ANY (tg.key_columns) THEN
                l_match := l_match || format('t.%I %s (s.key)[%s]::%s', att.name, cutover.equality(att.type_oid),
                                             array_position(tg.key_columns, att.name), att.type);
            END IF;
            CONTINUE WHEN att.generated;
            l_cells := l_cells || format('t.%I', att.name);
            l_pre := l_pre || CASE WHEN pos = ANY (tg.loose)
                THEN format('CASE WHEN %s = ANY (s.loose_pre) THEN t.%I ELSE (s.pre)[%s]::%s END', pos, att.name, pos, att.type)
                ELSE format('(s.pre)[%s]::%s', pos, att.type) END;
            l_add := l_add || CASE WHEN pos = ANY (tg.adds)
                THEN format('CASE WHEN %s = ANY (s.adds) THEN t.%I ELSE (s.pre)[%s]::%s END', pos, att.name, pos, att.type)
                ELSE l_pre[cardinality(l_pre)] END;
            l_post := l_post || CASE WHEN pos = ANY (tg.loose)
                THEN format('CASE WHEN %s = ANY (s.loose_post) THEN t.%I ELSE (s.post)[%s]::%s END', pos, att.name, pos, att.type)
                ELSE format('(s.post)[%s]::%s', pos, att.type) END;
        END LOOP;
        IF EXISTS (SELECT FROM unnest(tg.columns) c WHERE c <> ALL (l_known) AND c <> ALL (tg.absent)) THEN
            RAISE EXCEPTION '%.% has lost a column since the bundle was made', tg.schema_name, tg.table_name
                USING ERRCODE = 'CU010';
        END IF;
        IF tg.shape IS NOT NULL AND tg.shape <> l_shape THEN
            RAISE EXCEPTION 'the columns of %.% have changed since the run began', tg.schema_name, tg.table_name
                USING ERRCODE = 'CU010';
        END IF;
        -- The images are compared; where bytes differ, text decides (a difference is a difference in text).
        UPDATE cutover.target SET
            shape = l_shape, rel = tg.rel, scan = tg.scan,
            key_match = array_to_string(l_match, ' AND '),
            guard = cutover.same_row(l_cells, l_pre),
            guard_add = cutover.same_row(l_cells, l_add),
            same = cutover.same_row(l_cells, l_post)
        WHERE run = p_run AND tbl = tg.tbl AND shape IS NULL;
    END LOOP;
END
$body$;

CREATE OR REPLACE FUNCTION cutover.same_row(p_left text[], p_right text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $body$
    SELECT format('(ROW(%1$s)::record *= ROW(%2$s)::record OR ROW(%1$s)::text = ROW(%2$s)::text)',
                  array_to_string(p_left, ', '), array_to_string(p_right, ', '))
$body$;

-- The equality by which a type's own index compares: that of an extension's type lies beside it, not in pg_catalog.
CREATE OR REPLACE FUNCTION cutover.equality(p_type oid) RETURNS text LANGUAGE plpgsql STABLE AS $body$
DECLARE
    base oid := p_type;
    below oid;
    named text;
BEGIN
    LOOP
        SELECT typbasetype INTO below FROM pg_type WHERE oid = base AND typtype = 'd';
        EXIT WHEN NOT FOUND;
        base := below;
    END LOOP;
    SELECT format('OPERATOR(%I.%s)', n.nspname, o.oprname) INTO named
    FROM pg_opclass c
    JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'
    JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amopstrategy = 3
        AND (a.amoplefttype, a.amoprighttype) = (c.opcintype, c.opcintype)
    JOIN pg_operator o ON o.oid = a.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE c.opcintype = base AND c.opcdefault;
    RETURN coalesce(named, '=');
END
$body$;

-- The name of a table, an index or a sequence with its schema, whatever the search_path.
CREATE OR REPLACE FUNCTION cutover.named(p_relation oid) RETURNS text LANGUAGE plpgsql STABLE AS $body$
BEGIN
    RETURN (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.oid = p_relation);
END
$body$;

-- A table without those that inherit from it: no constraint of it knows of their rows.
CREATE OR REPLACE FUNCTION cutover.only(p_table oid) RETURNS text LANGUAGE plpgsql STABLE AS $body$
BEGIN
    RETURN (SELECT CASE relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || cutover.named(p_table) FROM pg_class WHERE oid = p_table);
END
$body$;

-- How one column of a foreign key is compared with the one that it refers to: by the key's own operator.
CREATE OR REPLACE FUNCTION cutover.refers_by(p_parent text, p_operator oid, p_child text) RETURNS text LANGUAGE plpgsql STABLE AS $body$
BEGIN
    RETURN (SELECT format('%s %s %s', p_parent, CASE WHEN o.oprname = '=' THEN format('OPERATOR(%I.=)', n.nspname) ELSE '=' END, p_child)
            FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid = p_operator);
END
$body$;

-- Rows of the target are found by their key, one by one: a wrong estimate must not turn a batch into a scan.
CREATE OR REPLACE FUNCTION cutover.by_key(p_on boolean) RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
    PERFORM set_config('enable_hashjoin', CASE WHEN p_on THEN 'off' ELSE 'on' END, true),
            set_config('enable_mergejoin', CASE WHEN p_on THEN 'off' ELSE 'on' END, true),
            set_config('enable_seqscan', CASE WHEN p_on THEN 'off' ELSE 'on' END, true);
END
$body$;

-- One apply at a time: a session-level advisory lock, which an orphaned backend keeps until it ends.
CREATE OR REPLACE FUNCTION cutover.take_lock() RETURNS boolean LANGUAGE sql AS $body$
    SELECT pg_try_advisory_lock(1668641647, 1986359924)
$body$;

CREATE OR REPLACE FUNCTION cutover.lock_holder() RETURNS integer LANGUAGE plpgsql AS $body$
BEGIN
    RETURN (SELECT pid FROM pg_locks
            WHERE locktype = 'advisory' AND classid = 1668641647 AND objid = 1986359924 AND objsubid = 2 AND granted
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            LIMIT 1);
END
$body$;

CREATE OR REPLACE FUNCTION cutover.must_hold() RETURNS void LANGUAGE plpgsql AS $body$
BEGIN
    IF cutover.lock_holder() IS DISTINCT FROM pg_backend_pid() THEN
        RAISE EXCEPTION 'this session does not hold the apply''s lock (a pooler in transaction mode?)' USING ERRCODE = 'CU011';
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the apply runs at READ COMMITTED only' USING ERRCODE = 'CU011';
    END IF;
END
$body$;

-- A live sequence is never set: it is advanced by drawing, or restarted while its lock keeps everybody else out.
CREATE OR REPLACE FUNCTION cutover.advance_sequence(p_sequence text, p_to bigint) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE
    step bigint;
    at_value bigint;
    steps numeric;
BEGIN
    SELECT seqincrement INTO step FROM pg_sequence WHERE seqrelid = p_sequence::regclass;
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE last_value - %s END FROM %s', step, p_sequence) INTO at_value;
    steps := ceil((p_to - at_value)::numeric / step);
    IF steps <= 0 THEN
        RETURN 0;
    END IF;
    IF steps <= 100000 THEN
        PERFORM nextval(p_sequence::regclass) FROM generate_series(1, steps::bigint);
        RETURN steps;
    END IF;
    EXECUTE format('ALTER SEQUENCE %s INCREMENT BY %s', p_sequence, step);
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE last_value - %s END FROM %s', step, p_sequence) INTO at_value;
    IF ceil((p_to - at_value)::numeric / step) > 0 THEN
        EXECUTE format('ALTER SEQUENCE %s RESTART WITH %s', p_sequence, p_to + step);
    END IF;
    RETURN steps;
END
$body$;

-- Draws the ids of the re-keyed rows, none that the target holds already, and fills them in everywhere.
CREATE OR REPLACE FUNCTION cutover.draw(p_run uuid) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    wanted record;
    missing bigint;
    source text;
    rounds integer;
BEGIN
    PERFORM cutover.must_hold();
    IF (SELECT state FROM cutover.run WHERE run = p_run FOR UPDATE) <> 'staged' THEN
        RETURN;
    END IF;
    FOR wanted IN
        SELECT m.schema_name, m.table_name, m.column_name, t.sequence_name, t.tbl,
               array_position(t.key_columns, m.column_name) AS key_position
        FROM cutover.id_map m JOIN cutover.target t USING (run, schema_name, table_name)
        WHERE m.run = p_run AND m.new_id IS NULL
        GROUP BY 1, 2, 3, 4, 5, 6
    LOOP
        IF wanted.sequence_name IS NULL THEN
            EXECUTE format('CREATE TEMP SEQUENCE cutover_ids');
            EXECUTE format(
                'SELECT setval(''pg_temp.cutover_ids'', greatest(1, (SELECT max(%1$I) FROM %2$I.%3$I)::bigint,
                     (SELECT max(old_id::bigint) FROM cutover.id_map WHERE run = $1 AND schema_name = $2 AND table_name = $3),
                     (SELECT max((key)[%4$s]::bigint) FROM cutover.step
                      WHERE run = $1 AND tbl = $4 AND action = ''i'' AND (key)[%4$s] IS NOT NULL)))',
                wanted.column_name, wanted.schema_name, wanted.table_name, coalesce(wanted.key_position, 1))
                USING p_run, wanted.schema_name, wanted.table_name, wanted.tbl;
            source := 'pg_temp.cutover_ids';
        ELSE
            source := wanted.sequence_name;
        END IF;
        rounds := 0;
        LOOP
            SELECT count(*) INTO missing FROM cutover.id_map
            WHERE run = p_run AND schema_name = wanted.schema_name AND table_name = wanted.table_name
              AND column_name = wanted.column_name AND new_id IS NULL;
            EXIT WHEN missing = 0;
            rounds := rounds + 1;
            IF rounds > 1000 THEN
                RAISE EXCEPTION 'the sequence % only gives ids that %.% holds already', source,
                    wanted.schema_name, wanted.table_name USING ERRCODE = 'CU010';
            END IF;
            EXECUTE format(
                'WITH drawn AS MATERIALIZED (SELECT nextval(%1$L::regclass) AS id FROM generate_series(1, $1)),
                      free AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM drawn
                               WHERE NOT EXISTS (SELECT FROM %2$I.%3$I t WHERE t.%4$I = drawn.id)),
                      need AS (SELECT old_id, row_number() OVER (ORDER BY length(old_id), old_id) AS n FROM cutover.id_map
                               WHERE run = $2 AND schema_name = $3 AND table_name = $4 AND column_name = $5 AND new_id IS NULL)
                 UPDATE cutover.id_map m SET new_id = free.id::text FROM free JOIN need USING (n)
                 WHERE m.run = $2 AND m.schema_name = $3 AND m.table_name = $4 AND m.column_name = $5
                   AND m.old_id = need.old_id',
                source, wanted.schema_name, wanted.table_name, wanted.column_name)
                USING missing, p_run, wanted.schema_name, wanted.table_name, wanted.column_name;
        END LOOP;
        IF wanted.sequence_name IS NULL THEN
            DROP SEQUENCE pg_temp.cutover_ids;
        END IF;
    END LOOP;
    UPDATE cutover.step SET
        key = cutover.filled(p_run, key, refs, 'key'),
        pre = cutover.filled(p_run, pre, refs, 'pre'),
        post = cutover.filled(p_run, post, refs, 'post'),
        refs = NULL
    WHERE run = p_run AND refs IS NOT NULL;
    UPDATE cutover.run SET state = 'drawn' WHERE run = p_run;
END
$body$;

CREATE OR REPLACE FUNCTION cutover.new_id(p_run uuid, p_ref jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $body$
DECLARE
    found_id text;
BEGIN
    IF p_ref ? 'id' THEN
        RETURN p_ref ->> 'id';
    END IF;
    SELECT new_id INTO found_id FROM cutover.id_map
    WHERE run = p_run AND schema_name = p_ref ->> 'schema' AND table_name = p_ref ->> 'table' AND old_id = p_ref ->> 'old';
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'the id map has no new id for %.% %', p_ref ->> 'schema', p_ref ->> 'table', p_ref ->> 'old'
            USING ERRCODE = 'CU010';
    END IF;
    RETURN found_id;
END
$body$;

-- Fills the drawn ids into one row; a place inside a document keeps its JSON kind (number or string).
CREATE OR REPLACE FUNCTION cutover.filled(p_run uuid, p_row text[], p_refs jsonb, p_part text)
RETURNS text[] LANGUAGE plpgsql STABLE AS $body$
DECLARE
    ref jsonb;
    pos integer;
    place text[];
    document jsonb;
    id text;
BEGIN
    IF p_row IS NULL THEN
        RETURN NULL;
    END IF;
    FOR ref IN SELECT value FROM jsonb_array_elements(p_refs) WHERE value ->> 'part' = p_part LOOP
        pos := (ref ->> 'position')::integer;
        id := cutover.new_id(p_run, ref);
        IF ref ? 'path' THEN
            document := p_row[pos]::jsonb;
            place := ARRAY(SELECT jsonb_array_elements_text(ref -> 'path'));
            p_row[pos] := jsonb_set(document, place, CASE jsonb_typeof(document #> place)
                WHEN 'number' THEN to_jsonb(id::numeric) ELSE to_jsonb(id) END, false)::text;
        ELSE
            p_row[pos] := id;
        END IF;
    END LOOP;
    RETURN p_row;
END
$body$;
