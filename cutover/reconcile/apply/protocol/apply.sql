-- What this transaction has written so far, by table (a partitioned one by its root), triggers included.
-- In plpgsql, as all that runs once a batch: a session plans it once.
CREATE OR REPLACE FUNCTION cutover.written() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $body$
BEGIN
    RETURN (SELECT coalesce(jsonb_object_agg(root::text, jsonb_build_array(i, u, d)), '{}') FROM (
        SELECT coalesce(pg_partition_root(x.oid)::oid, x.oid) AS root, sum(x.i) AS i, sum(x.u) AS u, sum(x.d) AS d
        FROM (SELECT c.oid, pg_stat_get_xact_tuples_inserted(c.oid) AS i, pg_stat_get_xact_tuples_updated(c.oid) AS u,
                     pg_stat_get_xact_tuples_deleted(c.oid) AS d
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('cutover', 'pg_catalog', 'information_schema')
                AND n.nspname !~ '^pg_toast' OFFSET 0) x
        WHERE x.i + x.u + x.d > 0
        GROUP BY 1) y);
END
$body$;

-- Writes that the steps themselves do not explain: triggers, rules, ON DELETE actions.
CREATE OR REPLACE FUNCTION cutover.unexplained(p_before jsonb, p_after jsonb, p_own jsonb)
RETURNS TABLE (rel oid, inserted bigint, updated bigint, deleted bigint) LANGUAGE sql STABLE AS $body$
    SELECT x.rel, x.i, x.u, x.d FROM (
        SELECT key::oid AS rel,
               (value ->> 0)::bigint - coalesce((p_before -> key ->> 0)::bigint, 0) - coalesce((p_own -> key ->> 0)::bigint, 0) AS i,
               (value ->> 1)::bigint - coalesce((p_before -> key ->> 1)::bigint, 0) - coalesce((p_own -> key ->> 1)::bigint, 0) AS u,
               (value ->> 2)::bigint - coalesce((p_before -> key ->> 2)::bigint, 0) - coalesce((p_own -> key ->> 2)::bigint, 0) AS d
        FROM jsonb_each(p_after)) x JOIN pg_class c ON c.oid = x.rel
    WHERE (x.i, x.u, x.d) <> (0, 0, 0)
      -- A row that moves to another partition counts as one deleted and one inserted.
      AND NOT (c.relkind = 'p' AND x.i = x.d AND x.i = -x.u AND x.i > 0)
$body$;

-- Adds rows that the steps themselves write to {relation: [inserted, updated, deleted]}.
CREATE OR REPLACE FUNCTION cutover.counted(p_own jsonb, p_target cutover.target, p_action "char", p_rows bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $body$
DECLARE
    rel text := (p_target.rel::regclass::oid)::text;
    slot integer := CASE p_action WHEN 'i' THEN 0 WHEN 'u' THEN 1 ELSE 2 END;
BEGIN
    p_own := jsonb_set(p_own, ARRAY[rel], coalesce(p_own -> rel, '[0, 0, 0]'));
    RETURN jsonb_set(p_own, ARRAY[rel, slot::text], to_jsonb((p_own -> rel ->> slot)::bigint + p_rows));
END
$body$;

-- Raises when a row still refers to a row that this level is about to delete: ON DELETE actions are never relied on.
CREATE OR REPLACE FUNCTION cutover.refuse_children(
    p_run uuid, p_batch integer, p_level integer, p_action "char", p_components integer[], p_skip integer[], p_target cutover.target)
RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    child record;
    found_no integer;
    own text;
BEGIN
    FOR child IN
        SELECT cutover.only(c.conrelid) AS rel, c.conrelid AS rel_oid,
               string_agg(cutover.refers_by(format('t.%I', b.attname), k.operator, format('c.%I', a.attname)), ' AND ' ORDER BY k.n) AS on_columns
        FROM pg_constraint c
        CROSS JOIN LATERAL unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS k (child, parent, operator, n)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.child
        JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.parent
        WHERE c.contype = 'f' AND c.conparentid = 0
          AND c.confrelid IN (SELECT p_target.rel::regclass UNION SELECT relid FROM pg_partition_tree(p_target.rel::regclass))
        GROUP BY c.oid, c.conrelid, c.confrelid
        UNION ALL
        SELECT cutover.only(to_regclass(format('%I.%I', r.from_schema, r.from_table))),
               to_regclass(format('%I.%I', r.from_schema, r.from_table)),
               CASE WHEN cardinality(r.json_path) = 0 THEN format('c.%I::text = t.%I::text', r.from_column, r.to_column)
                    ELSE format('(c.%I::jsonb #>> %L) = t.%I::text', r.from_column, r.json_path, r.to_column) END
               || coalesce((SELECT string_agg(format(' AND c.%I::text = %L', key, value), '')
                            FROM jsonb_each_text(r.condition)), '')
        FROM cutover.reference r
        WHERE r.run = p_run AND (r.to_schema, r.to_table) = (p_target.schema_name, p_target.table_name)
    LOOP
        -- Rows that go with it, in keys that may wait for the end of the transaction, are no hindrance.
        own := coalesce((
            SELECT format(' AND NOT EXISTS (SELECT FROM cutover.step s CROSS JOIN LATERAL (SELECT c.*) t
                              WHERE s.run = $1 AND s.batch = $2 AND s.tbl = %s AND s.action = $5
                                AND s.component = ANY ($6) AND %s)', k.tbl, k.key_match)
            FROM cutover.target k
            WHERE k.run = p_run AND to_regclass(k.rel) = child.rel_oid AND cardinality(k.key_columns) > 0), '');
        EXECUTE format('SELECT s.no FROM cutover.step s JOIN %s t ON %s
                        WHERE s.run = $1 AND s.batch = $2 AND s.level = $3 AND s.tbl = $4 AND s.action = $5
                          AND s.component = ANY ($6) AND s.no <> ALL ($7)
                          AND EXISTS (SELECT FROM %s c WHERE %s%s) LIMIT 1',
                       p_target.scan, p_target.key_match, child.rel, child.on_columns, own)
            INTO found_no USING p_run, p_batch, p_level, p_target.tbl, p_action, p_components, p_skip;
        IF found_no IS NOT NULL THEN
            RAISE EXCEPTION 'a row of % refers to it', cutover.named(child.rel_oid) USING ERRCODE = 'CU003';
        END IF;
    END LOOP;
END
$body$;

-- Raises when a declared reference that a step wrote points nowhere, unless it does on old as well: nobody enforces it,
-- and a row is not lost for what it never had. Foreign keys are the database's own.
CREATE OR REPLACE FUNCTION cutover.refuse_orphans(p_run uuid, p_batch integer, p_components integer[]) RETURNS void
LANGUAGE plpgsql AS $body$
DECLARE
    ref record;
    cell text;
    place integer;
    written text;
    found_id text;
BEGIN
    FOR ref IN
        SELECT r.*, t.tbl, t.scan, t.key_match, t.columns FROM cutover.reference r
        JOIN cutover.target t ON t.run = r.run AND (t.schema_name, t.table_name) = (r.from_schema, r.from_table)
        WHERE r.run = p_run AND cardinality(t.key_columns) > 0
          AND EXISTS (SELECT FROM cutover.step s WHERE s.run = p_run AND s.batch = p_batch AND s.tbl = t.tbl AND s.action <> 'd')
    LOOP
        cell := CASE WHEN cardinality(ref.json_path) = 0 THEN format('t.%I::text', ref.from_column)
                     ELSE format('(t.%I::jsonb #>> %L)', ref.from_column, ref.json_path) END;
        place := array_position(ref.columns, ref.from_column);
        written := CASE WHEN cardinality(ref.json_path) = 0
                        THEN format('s.pre[%1$s] IS DISTINCT FROM s.post[%1$s]', place)
                        ELSE format('(s.pre[%1$s]::jsonb #>> %2$L) IS DISTINCT FROM (s.post[%1$s]::jsonb #>> %2$L)',
                                    place, ref.json_path) END
            || coalesce((SELECT string_agg(format(' OR s.pre[%1$s] IS DISTINCT FROM s.post[%1$s]', array_position(ref.columns, key)), '')
                         FROM jsonb_each_text(ref.condition)), '');
        EXECUTE format(
            'SELECT %1$s FROM cutover.step s JOIN cutover.after a USING (run, no) JOIN %2$s t ON %3$s
             WHERE s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.component = ANY ($4) AND %1$s IS NOT NULL %4$s
               AND %8$s <> ALL (s.dangling) AND (s.pre IS NULL OR %9$s)
               AND NOT EXISTS (SELECT FROM %5$I.%6$I p WHERE p.%7$I::text = %1$s FOR KEY SHARE) LIMIT 1',
            cell, ref.scan, ref.key_match,
            coalesce((SELECT string_agg(format(' AND t.%I::text = %L', key, value), '') FROM jsonb_each_text(ref.condition)), ''),
            ref.to_schema, ref.to_table, ref.to_column, place, written)
            INTO found_id USING p_run, p_batch, ref.tbl, p_components;
        IF found_id IS NOT NULL THEN
            RAISE EXCEPTION '%.% refers to %.% %, which is not there', ref.from_schema, ref.from_table,
                ref.to_schema, ref.to_table, found_id USING ERRCODE = 'CU003';
        END IF;
    END LOOP;
END
$body$;

-- Judges what is there now: locks the rows of the batch and keeps their images.
CREATE OR REPLACE FUNCTION cutover.judge(p_run uuid, p_batch integer, p_components integer[]) RETURNS void
LANGUAGE plpgsql AS $body$
DECLARE
    part record;
    verdict text;
BEGIN
    FOR part IN
        SELECT s.action, t.* FROM (
            SELECT DISTINCT tbl, action FROM cutover.step
            WHERE run = p_run AND batch = p_batch AND first AND component = ANY (p_components)) s
        JOIN cutover.target t ON t.run = p_run AND t.tbl = s.tbl
        ORDER BY t.tbl, s.action
    LOOP
        CONTINUE WHEN cardinality(part.key_columns) = 0 AND part.action = 'i';
        IF cardinality(part.key_columns) = 0 THEN
            EXECUTE format(
                'INSERT INTO cutover.before (run, no, hit, image)
                 SELECT s.run, s.no, CASE WHEN count(*) = s.copies THEN ''hit'' ELSE ''miss'' END, min(x.image)
                 FROM cutover.step s CROSS JOIN LATERAL (
                     SELECT (t.*)::text AS image FROM %s t WHERE %s LIMIT s.copies FOR UPDATE) x
                 WHERE s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.action = $4 AND s.component = ANY ($5)
                 GROUP BY s.run, s.no, s.copies', part.scan, part.guard)
                USING p_run, p_batch, part.tbl, part.action, p_components;
            CONTINUE;
        END IF;
        verdict := CASE part.action
            WHEN 'u' THEN format('WHEN %s THEN ''hit'' WHEN s.last AND s.adds = ''{}'' AND %s THEN ''present''%s', part.guard, part.same,
                CASE WHEN cardinality(part.adds) > 0
                     THEN format(' WHEN s.last AND cardinality(s.adds) > 0 AND %s THEN ''add''', part.guard_add) ELSE '' END)
            WHEN 'd' THEN format('WHEN %s THEN ''hit''', part.guard)
            ELSE format('WHEN s.last AND %s THEN ''present''', part.same) END;
        EXECUTE format(
            'INSERT INTO cutover.before (run, no, hit, image)
             SELECT x.run, x.no, x.hit, x.image FROM (
                 SELECT s.run, s.no, CASE %s ELSE ''miss'' END AS hit, (t.*)::text AS image
                 FROM cutover.step s JOIN %s t ON %s
                 WHERE s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.action = $4 AND s.first AND s.component = ANY ($5)
                 ORDER BY s.no FOR %s OF t) x',
            verdict, part.scan, part.key_match,
            CASE part.action WHEN 'd' THEN 'UPDATE' WHEN 'u' THEN 'NO KEY UPDATE' ELSE 'KEY SHARE' END)
            USING p_run, p_batch, part.tbl, part.action, p_components;
        IF part.action = 'u' AND cardinality(part.adds) > 0 THEN
            -- The target moved on in nothing but the counted columns: the difference still holds.
            EXECUTE format(
                'UPDATE cutover.step s SET %s FROM %s t, cutover.before b
                 WHERE s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.component = ANY ($4) AND s.first
                   AND b.run = s.run AND b.no = s.no AND b.hit = ''add'' AND %s',
                (SELECT string_agg(format(
                    'pre[%1$s] = CASE WHEN %1$s = ANY (s.adds) THEN t.%2$I::text ELSE s.pre[%1$s] END,
                     post[%1$s] = CASE WHEN %1$s = ANY (s.adds) THEN (t.%2$I + (s.delta)[%1$s]::%3$s)::text ELSE s.post[%1$s] END',
                    i, part.columns[i], (SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                                         WHERE attrelid = part.rel::regclass AND attname = part.columns[i])), ', ')
                 FROM unnest(part.adds) i),
                part.scan, part.key_match) USING p_run, p_batch, part.tbl, p_components;
        END IF;
    END LOOP;
END
$body$;

-- One statement that carries out one action on one table at one level, and keeps the image that it leaves.
CREATE OR REPLACE FUNCTION cutover.statement(p_target cutover.target, p_action "char", p_cols integer[]) RETURNS text
LANGUAGE plpgsql STABLE AS $body$
DECLARE
    filter text := 's.run = $1 AND s.batch = $2 AND s.level = $3 AND s.tbl = $4 AND s.action = $5 AND s.cols = $6
                    AND s.component = ANY ($7) AND s.no <> ALL ($8)';
    names text;
    vals text;
    sets text;
BEGIN
    SELECT string_agg(format('%I', a.attname), ', ' ORDER BY k.n),
           string_agg(format('(s.post)[%s]::%s', k.i, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY k.n),
           string_agg(format('%I = (s.post)[%s]::%s', a.attname, k.i, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY k.n)
    INTO names, vals, sets
    FROM unnest(p_cols) WITH ORDINALITY AS k (i, n)
    JOIN pg_attribute a ON a.attrelid = p_target.rel::regclass AND a.attname = p_target.columns[k.i];
    CASE p_action
        WHEN 'i' THEN
            RETURN format(
                'WITH w AS (INSERT INTO %s%s OVERRIDING SYSTEM VALUE %s RETURNING 1) SELECT count(*) FROM w', p_target.rel,
                coalesce(format(' (%s)', names), ''),
                format('SELECT %s FROM cutover.step s, generate_series(1, s.copies) WHERE %s ORDER BY s.no',
                       coalesce(vals, ''), filter));
        WHEN 'u' THEN
            RETURN format(
                'WITH w AS (UPDATE %s t SET %s FROM cutover.step s WHERE %s AND %s AND (NOT s.first OR %s)
                            RETURNING s.run, s.no, (t.*)::text AS image, NOT %s AS effect),
                      k AS (INSERT INTO cutover.after (run, no, image, effect) SELECT run, no, image, effect FROM w)
                 SELECT count(*) FROM w', p_target.scan, sets, filter, p_target.key_match, p_target.guard, p_target.same);
        ELSE
            IF cardinality(p_target.key_columns) = 0 THEN
                RETURN format(
                    'WITH w AS (DELETE FROM %1$s d USING cutover.step s CROSS JOIN LATERAL (
                         SELECT t.tableoid AS o, t.ctid AS c FROM %1$s t WHERE %2$s LIMIT s.copies) x
                         WHERE d.tableoid = x.o AND d.ctid = x.c AND %3$s RETURNING 1) SELECT count(*) FROM w',
                    p_target.scan, p_target.guard, filter);
            END IF;
            RETURN format(
                'WITH w AS (DELETE FROM %s t USING cutover.step s WHERE %s AND %s AND (NOT s.first OR %s) RETURNING 1)
                 SELECT count(*) FROM w', p_target.scan, filter, p_target.key_match, p_target.guard);
    END CASE;
END
$body$;

-- The effects of one batch: [{"table", "rows", "columns", "inserted", "updated", "deleted"}]; empty when all is as planned.
CREATE OR REPLACE FUNCTION cutover.effects(
    p_run uuid, p_batch integer, p_components integer[], p_low integer, p_high integer, p_before jsonb, p_own jsonb) RETURNS jsonb LANGUAGE plpgsql AS $body$
DECLARE
    extra record;
    part record;
    result jsonb := '[]';
    n bigint;
    cols text[];
    touched integer[];
    now_written jsonb := cutover.written();
BEGIN
    FOR extra IN SELECT * FROM cutover.unexplained(p_before, now_written, p_own)
                 WHERE p_before <> '{}' OR now_written <> p_own LOOP
        SELECT t.* INTO part FROM cutover.target t WHERE t.run = p_run AND t.rel::regclass = extra.rel;
        IF FOUND AND cardinality(part.key_columns) > 0 THEN
            -- Rows of ours may have been written once more: keep what is there now.
            EXECUTE format(
                'UPDATE cutover.after a SET image = (t.*)::text, effect = NOT %s FROM cutover.step s JOIN %s t ON %s
                 WHERE a.run = s.run AND a.no = s.no AND s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.last
                   AND s.component = ANY ($4) AND a.image <> (t.*)::text', part.same, part.scan, part.key_match)
                USING p_run, p_batch, part.tbl, p_components;
        END IF;
        result := result || jsonb_build_object('table', (SELECT nspname || '.' || relname FROM pg_class c
            JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = extra.rel),
            'inserted', extra.inserted, 'updated', extra.updated, 'deleted', extra.deleted);
    END LOOP;
    touched := ARRAY(SELECT no FROM cutover.after a WHERE a.run = p_run AND a.no BETWEEN p_low AND p_high AND a.effect);
    FOR part IN
        SELECT t.* FROM cutover.target t WHERE t.run = p_run AND t.tbl = ANY (ARRAY(
            SELECT s.tbl FROM cutover.step s
            WHERE s.run = p_run AND s.no = ANY (touched) AND s.last AND s.component = ANY (p_components)))
    LOOP
        EXECUTE format(
            'SELECT count(DISTINCT s.no), array_agg(DISTINCT x.name) FILTER (WHERE x.differs)
             FROM cutover.step s JOIN cutover.after a USING (run, no)
             CROSS JOIN LATERAL (SELECT a.image::%s AS t OFFSET 0) i
             CROSS JOIN LATERAL (VALUES %s) x (name, differs)
             WHERE s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.last AND s.component = ANY ($4) AND a.effect', part.rel,
            (SELECT string_agg(format('(%L, NOT (%s = ANY (s.loose_post)) AND (i.t).%I::text IS DISTINCT FROM (s.post)[%s]::%s::text)',
                                      a.attname, k.i, a.attname, k.i, format_type(a.atttypid, a.atttypmod)), ', ')
             FROM unnest(part.columns) WITH ORDINALITY AS k (name, i)
             JOIN pg_attribute a ON a.attrelid = part.rel::regclass AND a.attname = k.name AND a.attgenerated = ''))
            INTO n, cols USING p_run, p_batch, part.tbl, p_components;
        result := result || jsonb_build_object('table', part.schema_name || '.' || part.table_name, 'rows', n, 'columns', to_jsonb(cols));
    END LOOP;
    RETURN result;
END
$body$;

CREATE OR REPLACE FUNCTION cutover.refuse_effects(p_run uuid, p_effects jsonb) RETURNS void LANGUAGE plpgsql AS $body$
DECLARE
    refused jsonb;
BEGIN
    SELECT jsonb_agg(value) INTO refused FROM jsonb_array_elements(p_effects)
    WHERE NOT EXISTS (SELECT FROM cutover.accepted WHERE run = p_run AND table_name = value ->> 'table');
    IF refused IS NOT NULL THEN
        RAISE EXCEPTION '%', refused USING ERRCODE = 'CU001',
            HINT = 'look at the triggers of these tables; accept them with --accept-effects TABLE';
    END IF;
END
$body$;

-- The long way: locks and judges the first rows of whole components, then writes the steps of those that are as planned.
CREATE OR REPLACE FUNCTION cutover.considered(
    p_run uuid, p_batch integer, p_low integer, p_high integer, INOUT components integer[], INOUT own jsonb,
    OUT missed integer[], OUT present integer[]) LANGUAGE plpgsql AS $body$
DECLARE
    found integer[];
    hits integer[];
    todo integer[];
    part record;
    target cutover.target;
    n bigint;
    wanted bigint;
BEGIN
    -- A generic plan searches the arrays below from end to end, for every row.
    PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
    PERFORM cutover.judge(p_run, p_batch, components);
    PERFORM cutover.by_key(false);
    SELECT coalesce(array_agg(no), '{}'), coalesce(array_agg(no) FILTER (WHERE hit IN ('hit', 'add')), '{}'),
           coalesce(array_agg(no) FILTER (WHERE hit = 'present'), '{}')
    INTO found, hits, present FROM cutover.before WHERE run = p_run AND no BETWEEN p_low AND p_high;
    -- A row to insert must not be there, one to update must; one to delete that is gone is done already.
    missed := ARRAY(
        SELECT DISTINCT component FROM cutover.step s
        WHERE s.run = p_run AND s.batch = p_batch AND s.first AND s.component = ANY (components)
          AND s.no <> ALL (hits) AND s.no <> ALL (present)
          AND (s.no = ANY (found) OR s.action = 'u' OR (s.action = 'd' AND s.key = '{}')));
    present := present || ARRAY(
        SELECT s.no FROM cutover.step s
        WHERE s.run = p_run AND s.batch = p_batch AND s.first AND s.action = 'd' AND s.component = ANY (components)
          AND s.no <> ALL (found));
    IF missed <> '{}' THEN
        UPDATE cutover.progress SET outcome = 'missed', why = 'the row in new is no longer what it was when the bundle was made'
        WHERE run = p_run AND direction = 'apply' AND batch = p_batch AND component = ANY (missed);
    END IF;
    todo := ARRAY(SELECT unnest(components) EXCEPT SELECT unnest(missed));
    PERFORM cutover.by_key(true);
    FOR part IN
        SELECT s.level, s.tbl, s.action, s.cols, sum(s.copies) AS wanted, bool_or(NOT s.first) AS again
        FROM cutover.step s
        WHERE s.run = p_run AND s.batch = p_batch AND s.component = ANY (todo) AND s.no <> ALL (present)
        GROUP BY s.level, s.tbl, s.action, s.cols ORDER BY s.level, s.tbl, s.action, s.cols
    LOOP
        SELECT * INTO target FROM cutover.target WHERE run = p_run AND tbl = part.tbl;
        IF part.action = 'd' THEN
            PERFORM cutover.refuse_children(p_run, p_batch, part.level, part.action, todo, present, target)
            WHERE cardinality(target.key_columns) > 0;
        END IF;
        IF part.again THEN
            EXECUTE format(
                'INSERT INTO cutover.before (run, no, hit, image) SELECT s.run, s.no, ''hit'', (t.*)::text
                 FROM cutover.step s JOIN %s t ON %s WHERE s.run = $1 AND s.batch = $2 AND s.level = $3 AND s.tbl = $4
                   AND s.action = $5 AND s.cols = $6 AND s.component = ANY ($7) AND NOT s.first',
                target.scan, target.key_match)
                USING p_run, p_batch, part.level, part.tbl, part.action, part.cols, todo;
        END IF;
        EXECUTE cutover.statement(target, part.action, part.cols) INTO n
            USING p_run, p_batch, part.level, part.tbl, part.action, part.cols,
                  todo, present;
        IF n <> part.wanted THEN
            RAISE EXCEPTION '% of % rows of %.% could be written: something took the others away', n, part.wanted,
                target.schema_name, target.table_name USING ERRCODE = 'CU002';
        END IF;
        IF part.action = 'i' THEN
            EXECUTE format(
                'WITH k AS (INSERT INTO cutover.after (run, no, image, effect)
                     SELECT s.run, s.no, x.image, NOT x.same FROM cutover.step s CROSS JOIN LATERAL (
                         SELECT (t.*)::text AS image, %s AS same FROM %s t WHERE %s LIMIT 1) x
                     WHERE s.run = $1 AND s.batch = $2 AND s.level = $3 AND s.tbl = $4 AND s.action = $5 AND s.cols = $6
                       AND s.component = ANY ($7) AND s.no <> ALL ($8) RETURNING no)
                 SELECT count(*), (SELECT count(*) FROM cutover.step s WHERE s.run = $1 AND s.batch = $2 AND s.level = $3
                       AND s.tbl = $4 AND s.action = $5 AND s.cols = $6 AND s.component = ANY ($7) AND s.no <> ALL ($8)) FROM k',
                target.same, target.scan,
                CASE WHEN cardinality(target.key_columns) = 0 THEN target.same ELSE target.key_match END)
                INTO n, wanted
                USING p_run, p_batch, part.level, part.tbl, part.action, part.cols,
                      todo, present;
            IF n <> wanted THEN
                RAISE EXCEPTION 'a trigger of %.% gave a row another key', target.schema_name, target.table_name
                    USING ERRCODE = 'CU002';
            END IF;
        END IF;
        own := cutover.counted(own, target, part.action, part.wanted);
    END LOOP;
END
$body$;

-- One transaction of the apply: a batch of whole components, or some of them.
CREATE OR REPLACE FUNCTION cutover.work(p_run uuid, p_batch integer, p_only integer[], p_rehearse boolean) RETURNS jsonb
LANGUAGE plpgsql AS $body$
DECLARE
    components integer[];
    straight integer[];
    whole boolean;
    rest integer[];
    missed integer[] := '{}';
    present integer[] := '{}';
    done_before integer := 0;
    low integer;
    high integer;
    counted jsonb;
    own jsonb;
    effects jsonb;
BEGIN
    SELECT * INTO components, straight, whole FROM cutover.waiting(p_run, p_batch, p_only);
    IF components = '{}' THEN
        RETURN jsonb_build_object('applied', 0, 'present', 0, 'missed', 0, 'refused', 0, 'effects', '[]'::jsonb);
    END IF;
    INSERT INTO cutover.progress (run, direction, component, batch, outcome)
    SELECT p_run, 'apply', component, p_batch, 'applied' FROM unnest(components) component;
    SET CONSTRAINTS ALL DEFERRED;
    counted := cutover.written();
    SELECT min(x.no), max(x.no) INTO low, high
    FROM (SELECT no FROM cutover.step WHERE run = p_run AND batch = p_batch OFFSET 0) x;
    PERFORM cutover.by_key(true);
    SELECT * INTO rest, own FROM cutover.straight(p_run, p_batch, straight, whole);
    IF NOT whole THEN
        rest := rest || ARRAY(SELECT unnest(components) EXCEPT SELECT unnest(straight));
    END IF;
    IF rest <> '{}' THEN
        SELECT x.own, x.missed, x.present INTO own, missed, present
        FROM cutover.considered(p_run, p_batch, low, high, rest, own) x;
    END IF;
    SET CONSTRAINTS ALL IMMEDIATE;
    PERFORM cutover.refuse_orphans(p_run, p_batch, components);
    PERFORM cutover.by_key(false);
    effects := cutover.effects(p_run, p_batch, components, low, high, counted, own);
    IF NOT p_rehearse THEN
        PERFORM cutover.refuse_effects(p_run, effects);
    END IF;
    IF present <> '{}' THEN
        UPDATE cutover.progress p SET outcome = 'present'
        WHERE p.run = p_run AND p.direction = 'apply' AND p.batch = p_batch AND p.component = ANY (rest)
          AND p.outcome = 'applied'
          AND p.component <> ALL (ARRAY(SELECT component FROM cutover.step s
                                        WHERE s.run = p_run AND s.batch = p_batch AND s.no <> ALL (present)));
        GET DIAGNOSTICS done_before = ROW_COUNT;
    END IF;
    RETURN jsonb_build_object(
        'applied', cardinality(components) - cardinality(missed) - done_before, 'present', done_before,
        'missed', cardinality(missed), 'refused', 0, 'effects', effects);
END
$body$;

-- Whether an error is worth another try, is about one component only, or must stop everything.
CREATE OR REPLACE FUNCTION cutover.judge_error(p_state text) RETURNS text LANGUAGE sql IMMUTABLE AS $body$
    SELECT CASE
        WHEN p_state IN ('40001', '40P01', '55P03') THEN 'retry'
        WHEN p_state IN ('CU002', 'CU003') OR left(p_state, 2) IN ('22', '23', 'P0', '44') THEN 'component'
        WHEN p_state = 'CU001' OR left(p_state, 2) IN ('0A', '08', '25', '28', '3D', '3F', '42', '53', '54', '55', '57', '58', 'CU', 'F0', 'XX')
            THEN 'stop'
        ELSE 'component' END
$body$;

-- Adds two results of work().
CREATE OR REPLACE FUNCTION cutover.sum_of(p_one jsonb, p_other jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $body$
BEGIN
    RETURN (SELECT jsonb_object_agg(key, coalesce((p_one ->> key)::bigint, 0) + coalesce((p_other ->> key)::bigint, 0))
            FROM unnest('{applied,present,missed,refused}'::text[]) key)
        || jsonb_build_object('effects', coalesce(p_one -> 'effects', '[]') || coalesce(p_other -> 'effects', '[]'))
        || CASE WHEN p_one ? 'retry' OR p_other ? 'retry'
                THEN jsonb_build_object('retry', coalesce(p_other ->> 'retry', p_one ->> 'retry')) ELSE '{}' END;
END
$body$;

-- Components of a batch; when they fail together, each half by itself, so that one bad row does not hold the others back
-- and is found in a few attempts: the rows that were written stay locked until the batch commits.
CREATE OR REPLACE FUNCTION cutover.attempt(
    p_run uuid, p_batch integer, p_direction text, p_only integer[], p_rehearse boolean) RETURNS jsonb LANGUAGE plpgsql AS $body$
DECLARE
    parts integer[];
    half integer;
    state text;
    said text;
    detail text;
BEGIN
    BEGIN
        IF p_direction = 'apply' THEN
            RETURN cutover.work(p_run, p_batch, p_only, p_rehearse);
        END IF;
        RETURN cutover.unwork(p_run, p_batch, p_only);
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
        IF cutover.judge_error(state) = 'stop' THEN
            RAISE;
        END IF;
    END;
    IF cutover.judge_error(state) = 'retry' THEN
        RETURN cutover.sum_of('{}', jsonb_build_object('retry', said));
    END IF;
    parts := coalesce(p_only, ARRAY(SELECT DISTINCT component FROM cutover.step
                                    WHERE run = p_run AND batch = p_batch ORDER BY component));
    IF cardinality(parts) = 1 THEN
        INSERT INTO cutover.progress (run, direction, component, batch, outcome, why)
        VALUES (p_run, p_direction, parts[1], p_batch, 'refused', concat_ws(': ', said, nullif(detail, '')));
        RETURN cutover.sum_of('{}', '{"refused": 1}');
    END IF;
    half := cardinality(parts) / 2;
    RETURN cutover.sum_of(
        cutover.attempt(p_run, p_batch, p_direction, parts[:half], p_rehearse),
        cutover.attempt(p_run, p_batch, p_direction, parts[half + 1:], p_rehearse));
END
$body$;

-- A batch. "retry" in the result: a lock was not to be had; nothing was done to what is left, try again later.
CREATE OR REPLACE FUNCTION cutover.advance(p_run uuid, p_batch integer, p_direction text, p_rehearse boolean) RETURNS jsonb
LANGUAGE plpgsql AS $body$
BEGIN
    PERFORM cutover.must_hold();
    PERFORM set_config('jit', 'off', true);
    IF (SELECT r.state FROM cutover.run r WHERE run = p_run) IS DISTINCT FROM
       (CASE p_direction WHEN 'apply' THEN 'drawn' ELSE 'undoing' END) THEN
        RAISE EXCEPTION 'the run is not in the state for this' USING ERRCODE = 'CU010';
    END IF;
    RETURN cutover.attempt(p_run, p_batch, p_direction, NULL, p_rehearse);
END
$body$;

-- The whole of it, one transaction a batch: what apply.sql calls.
CREATE OR REPLACE PROCEDURE cutover.run_all(p_run uuid, p_direction text) LANGUAGE plpgsql AS $body$
DECLARE
    part integer;
    result jsonb;
    tries integer;
BEGIN
    FOR part IN
        SELECT batch FROM cutover.step s WHERE run = p_run AND NOT EXISTS (
            SELECT FROM cutover.progress p WHERE p.run = p_run AND p.direction = p_direction AND p.batch = s.batch AND p.component = s.component)
        GROUP BY batch ORDER BY CASE p_direction WHEN 'apply' THEN batch ELSE -batch END
    LOOP
        tries := 0;
        LOOP
            result := cutover.advance(p_run, part, p_direction, false);
            COMMIT;
            EXIT WHEN NOT result ? 'retry';
            tries := tries + 1;
            IF tries > 60 THEN
                RAISE EXCEPTION 'rows stay locked by others: %; run it again, it goes on from here', result ->> 'retry';
            END IF;
            PERFORM pg_sleep(least(2, 0.05 * tries));
        END LOOP;
    END LOOP;
END
$body$;
