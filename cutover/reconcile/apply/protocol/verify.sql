-- Compares every row that the apply wrote with what is there now: per table, how many are
-- as applied, changed since by others, gone since, or again what they were before the apply.
CREATE OR REPLACE FUNCTION cutover.compare(p_run uuid)
RETURNS TABLE (rel text, same bigint, changed bigint, gone bigint, back bigint, back_keys text[]) LANGUAGE plpgsql AS $body$
DECLARE
    target cutover.target;
BEGIN
    FOR target IN SELECT t.* FROM cutover.target t WHERE t.run = p_run AND cardinality(t.key_columns) > 0
        AND EXISTS (SELECT FROM cutover.step s WHERE s.run = p_run AND s.tbl = t.tbl) ORDER BY t.tbl
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT $2, count(*) FILTER (WHERE state = ''same''), count(*) FILTER (WHERE state = ''changed''),
                    count(*) FILTER (WHERE state = ''gone''), count(*) FILTER (WHERE state = ''back''),
                    (array_agg(array_to_string(key, '', '') ORDER BY no) FILTER (WHERE state = ''back''))[1:100]
             FROM (SELECT s.no, s.key, CASE
                       WHEN x.image IS NOT DISTINCT FROM a.image THEN ''same''
                       WHEN f.action = ''i'' AND x.image IS NULL THEN ''gone''
                       WHEN f.action <> ''i'' AND x.image = b.image THEN ''back''
                       WHEN x.image IS NULL THEN ''gone'' ELSE ''changed'' END AS state
                   FROM cutover.step s
                   JOIN cutover.progress p ON p.run = s.run AND p.batch = s.batch AND p.component = s.component AND p.direction = ''apply''
                       AND p.outcome = ''applied''
                   JOIN cutover.step f ON f.run = s.run AND f.component = s.component AND f.tbl = s.tbl AND f.key = s.key AND f.first
                   LEFT JOIN cutover.after a ON a.run = s.run AND a.no = s.no
                   LEFT JOIN cutover.before b ON b.run = s.run AND b.no = f.no
                   LEFT JOIN LATERAL (SELECT (t.*)::text AS image FROM %s t WHERE %s) x ON true
                   WHERE s.run = $1 AND s.tbl = $3 AND s.last
                     AND (a.no IS NOT NULL OR (s.action = ''d'' AND b.hit IN (''hit'', ''add'')))) y',
            target.scan, target.key_match)
            USING p_run, target.schema_name || '.' || target.table_name, target.tbl;
    END LOOP;
END
$body$;

-- Rows of or onto the tables of a run whose foreign key points nowhere.
CREATE OR REPLACE FUNCTION cutover.orphans(p_run uuid) RETURNS TABLE (name text, rows bigint) LANGUAGE plpgsql AS $body$
DECLARE
    fk record;
BEGIN
    FOR fk IN
        SELECT c.conname::text AS name, cutover.named(c.conrelid) AS child, cutover.only(c.conrelid) AS children,
               cutover.only(c.confrelid) AS parents,
               string_agg(cutover.refers_by(format('p.%I', b.attname), k.operator, format('c.%I', a.attname)), ' AND ' ORDER BY k.n) AS joined,
               string_agg(format('c.%I IS NOT NULL', a.attname), ' AND ' ORDER BY k.n) AS present
        FROM pg_constraint c
        CROSS JOIN LATERAL unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS k (child, parent, operator, n)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.child
        JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = k.parent
        WHERE c.contype = 'f' AND c.conparentid = 0 AND EXISTS (
            SELECT FROM cutover.target t WHERE t.run = p_run AND to_regclass(t.rel) IN (c.conrelid, c.confrelid))
        GROUP BY c.oid, c.conname, c.conrelid, c.confrelid
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT $1, count(*) FROM %s c WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s)',
            fk.children, fk.present, fk.parents, fk.joined) USING fk.child || ' ' || fk.name;
    END LOOP;
END
$body$;

-- Values that a unique index of a table of the run should keep apart, and that the table holds twice.
CREATE OR REPLACE FUNCTION cutover.duplicates(p_run uuid) RETURNS TABLE (name text, rows bigint) LANGUAGE plpgsql AS $body$
DECLARE
    ix record;
BEGIN
    PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true),
            set_config('enable_bitmapscan', 'off', true);
    FOR ix IN
        SELECT cutover.named(i.indexrelid) AS name, cutover.only(i.indrelid) AS rel, i.indisvalid AND i.indisready AS valid,
               coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') AS present,
               string_agg(pg_get_indexdef(i.indexrelid, k.n::integer, true), ', ' ORDER BY k.n) AS cols,
               CASE WHEN coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) THEN 'true'
                    ELSE string_agg(format('(%s) IS NOT NULL', pg_get_indexdef(i.indexrelid, k.n::integer, true)), ' AND ') END AS filled
        FROM cutover.target t JOIN pg_index i ON i.indrelid = to_regclass(t.rel) AND i.indisunique
        CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS k (n)
        WHERE t.run = p_run
        GROUP BY i.indexrelid, to_jsonb(i), i.indrelid, i.indisvalid, i.indisready, i.indpred
    LOOP
        IF NOT ix.valid THEN
            RETURN QUERY SELECT ix.name || ' (the index is invalid)', 1::bigint;
        ELSE
            RETURN QUERY EXECUTE format(
                'SELECT $1, count(*) FROM (SELECT FROM %s WHERE (%s) AND %s GROUP BY %s HAVING count(*) > 1) x',
                ix.rel, ix.present, ix.filled, ix.cols) USING ix.name;
        END IF;
    END LOOP;
END
$body$;

-- Sequences of the run's tables that would hand out an id that is taken.
CREATE OR REPLACE FUNCTION cutover.sequences_behind(p_run uuid) RETURNS TABLE (name text, at_value bigint, taken bigint)
LANGUAGE plpgsql AS $body$
DECLARE
    sq record;
    l_at bigint;
    l_taken bigint;
BEGIN
    FOR sq IN
        SELECT DISTINCT cutover.named(d.objid) AS name, t.rel, a.attname, s.seqincrement
        FROM cutover.target t
        JOIN pg_attribute a ON a.attrelid = to_regclass(t.rel) AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_depend d ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')
            AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
        JOIN pg_sequence s ON s.seqrelid = d.objid
        WHERE t.run = p_run
    LOOP
        EXECUTE format('SELECT CASE WHEN is_called THEN last_value ELSE last_value - %s END FROM %s', sq.seqincrement, sq.name) INTO l_at;
        EXECUTE format('SELECT %s(%I)::bigint FROM %s', CASE WHEN sq.seqincrement > 0 THEN 'max' ELSE 'min' END, sq.attname, sq.rel)
            INTO l_taken;
        IF l_taken IS NOT NULL AND (l_taken - l_at) * sign(sq.seqincrement) > 0 THEN
            RETURN QUERY SELECT sq.name, l_at, l_taken;
        END IF;
    END LOOP;
END
$body$;
