-- The short way: a component of one step is written at once, under its guard. Nothing is looked at beforehand, so what
-- the guard lets through needs no second look, and what it does not goes the long way (judge) in the same transaction.

-- Whether other rows may refer to rows of a table: then a row is locked before its children are looked for.
CREATE OR REPLACE FUNCTION cutover.referred(p_run uuid, p_target cutover.target) RETURNS boolean LANGUAGE plpgsql STABLE AS $body$
BEGIN
    RETURN EXISTS (SELECT FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid IN (
                       SELECT p_target.rel::regclass UNION SELECT relid FROM pg_partition_tree(p_target.rel::regclass)))
        OR EXISTS (SELECT FROM cutover.reference r
                   WHERE r.run = p_run AND (r.to_schema, r.to_table) = (p_target.schema_name, p_target.table_name));
END
$body$;

-- Whether the rows of a table are wholly known from the steps: a key, no generated column, nothing that is left open.
CREATE OR REPLACE FUNCTION cutover.plain(p_target cutover.target) RETURNS boolean LANGUAGE plpgsql STABLE AS $body$
BEGIN
    RETURN cardinality(p_target.key_columns) > 0 AND p_target.loose = '{}' AND p_target.adds = '{}'
       AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = p_target.rel::regclass AND a.attnum > 0
                       AND NOT a.attisdropped AND a.attgenerated <> '');
END
$body$;

-- Components of a batch that are not done yet, and those of them that can go the short way.
CREATE OR REPLACE FUNCTION cutover.waiting(
    p_run uuid, p_batch integer, p_only integer[], OUT components integer[], OUT straight integer[], OUT whole boolean)
LANGUAGE plpgsql AS $body$
DECLARE
    done integer[] := ARRAY(SELECT component FROM cutover.progress
                            WHERE run = p_run AND direction = 'apply' AND batch = p_batch);
    kinds text[] := ARRAY(
        SELECT t.tbl || s.action::text FROM cutover.target t
        JOIN (SELECT DISTINCT tbl, action FROM cutover.step WHERE run = p_run AND batch = p_batch) s USING (tbl)
        WHERE t.run = p_run AND cutover.plain(t) AND (s.action <> 'd' OR NOT cutover.referred(p_run, t)));
BEGIN
    SELECT coalesce(array_agg(component), '{}'), coalesce(array_agg(component) FILTER (WHERE alone), '{}'),
           p_only IS NULL AND done = '{}' AND coalesce(bool_and(alone), false)
    INTO components, straight, whole
    FROM (SELECT component, count(*) = 1 AND bool_and(copies = 1 AND tbl || action::text = ANY (kinds)) AS alone
          FROM cutover.step WHERE run = p_run AND batch = p_batch AND (p_only IS NULL OR component = ANY (p_only))
          GROUP BY component) x
    WHERE component <> ALL (done);
END
$body$;

-- One statement that writes the steps of one action on one table whose guard holds, and keeps both images.
CREATE OR REPLACE FUNCTION cutover.straight_statement(
    p_target cutover.target, p_action "char", p_cols integer[], p_whole boolean) RETURNS text LANGUAGE plpgsql STABLE AS $body$
DECLARE
    filter text := 's.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.action = $4 AND s.cols = $5'
                   || CASE WHEN p_whole THEN '' ELSE ' AND s.component = ANY ($6)' END;
    names text;
    vals text;
    sets text;
    was text;
BEGIN
    SELECT string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE k.i = ANY (p_cols)),
           string_agg(format('(s.post)[%s]::%s', k.i, a.type), ', ' ORDER BY a.attnum) FILTER (WHERE k.i = ANY (p_cols)),
           string_agg(format('%I = (s.post)[%s]::%s', a.attname, k.i, a.type), ', ' ORDER BY a.attnum) FILTER (WHERE k.i = ANY (p_cols)),
           string_agg(format('(s.pre)[%s]::%s', k.i, a.type), ', ' ORDER BY a.attnum)
    INTO names, vals, sets, was
    FROM unnest(p_target.columns) WITH ORDINALITY AS k (name, i)
    JOIN (SELECT attnum, attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
          WHERE attrelid = p_target.rel::regclass AND attnum > 0 AND NOT attisdropped) a ON a.attname = k.name;
    CASE p_action
        WHEN 'i' THEN
            -- OFFSET 0: the key is looked up row by row, whatever the planner thinks of it.
            RETURN format(
                'WITH n AS (INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE
                            SELECT %3$s FROM cutover.step s
                            WHERE %4$s AND NOT EXISTS (SELECT FROM %5$s t WHERE %6$s OFFSET 0) ORDER BY s.no RETURNING *),
                      w AS (SELECT s.run, s.no, (t.*)::text AS image, NOT %7$s AS effect FROM n t JOIN cutover.step s ON %6$s AND %4$s),
                      k AS (INSERT INTO cutover.after (run, no, image, effect) SELECT run, no, image, effect FROM w)
                 SELECT coalesce(array_agg(no), ''{}''), (SELECT count(*) FROM n) FROM w',
                p_target.rel, names, vals, filter, p_target.scan, p_target.key_match, p_target.same);
        WHEN 'u' THEN
            -- The guard has just held: the row was what the step says that it was.
            RETURN format(
                'WITH w AS (UPDATE %s t SET %s FROM cutover.step s WHERE %s AND %s AND %s
                            RETURNING s.run, s.no, ROW(%s)::text AS was, (t.*)::text AS image, NOT %s AS effect),
                      b AS (INSERT INTO cutover.before (run, no, hit, image) SELECT run, no, ''hit'', was FROM w),
                      k AS (INSERT INTO cutover.after (run, no, image, effect) SELECT run, no, image, effect FROM w)
                 SELECT coalesce(array_agg(no), ''{}''), count(*) FROM w',
                p_target.scan, sets, filter, p_target.key_match, p_target.guard, was, p_target.same);
        ELSE
            RETURN format(
                'WITH w AS (DELETE FROM %s t USING cutover.step s WHERE %s AND %s AND %s
                            RETURNING s.run, s.no, (t.*)::text AS was),
                      b AS (INSERT INTO cutover.before (run, no, hit, image) SELECT run, no, ''hit'', was FROM w)
                 SELECT coalesce(array_agg(no), ''{}''), count(*) FROM w',
                p_target.scan, filter, p_target.key_match, p_target.guard);
    END CASE;
END
$body$;

-- Writes what can be written at once; "rest": the components that could not, untouched.
CREATE OR REPLACE FUNCTION cutover.straight(
    p_run uuid, p_batch integer, p_components integer[], p_whole boolean, OUT rest integer[], OUT own jsonb)
LANGUAGE plpgsql AS $body$
DECLARE
    part record;
    target cutover.target;
    written integer[];
    done integer[] := '{}';
    n bigint;
BEGIN
    own := '{}';
    FOR part IN
        SELECT s.tbl, s.action, s.cols FROM cutover.step s
        WHERE s.run = p_run AND s.batch = p_batch AND (p_whole OR s.component = ANY (p_components))
        GROUP BY s.tbl, s.action, s.cols ORDER BY s.tbl, s.action, s.cols
    LOOP
        SELECT * INTO target FROM cutover.target WHERE run = p_run AND tbl = part.tbl;
        -- What was inserted is matched with its steps by hashing: no index holds these rows.
        PERFORM set_config('enable_hashjoin', CASE part.action WHEN 'i' THEN 'on' ELSE 'off' END, true),
                set_config('enable_nestloop', CASE part.action WHEN 'i' THEN 'off' ELSE 'on' END, true);
        EXECUTE cutover.straight_statement(target, part.action, part.cols, p_whole) INTO written, n
            USING p_run, p_batch, part.tbl, part.action, part.cols, p_components;
        IF n <> cardinality(written) THEN
            RAISE EXCEPTION 'a trigger of %.% gave a row another key', target.schema_name, target.table_name
                USING ERRCODE = 'CU002';
        END IF;
        done := done || written;
        own := cutover.counted(own, target, part.action, n);
    END LOOP;
    PERFORM set_config('enable_hashjoin', 'off', true), set_config('enable_nestloop', 'on', true);
    IF cardinality(done) = cardinality(p_components) THEN
        rest := '{}';
    ELSE
        rest := ARRAY(SELECT component FROM cutover.step WHERE run = p_run AND batch = p_batch
                      AND component = ANY (p_components) AND no <> ALL (done));
    END IF;
END
$body$;
