-- One transaction of the undo: whole components, each back to what it was or left as it is.
CREATE OR REPLACE FUNCTION cutover.unwork(p_run uuid, p_batch integer, p_only integer[]) RETURNS jsonb
LANGUAGE plpgsql AS $body$
DECLARE
    components integer[];
    refused integer[] := '{}';
    counted jsonb;
    own jsonb := '{}';
    part record;
    target cutover.target;
    hit record;
    n bigint;
    rel text;
    slot integer;
    effects jsonb;
BEGIN
    WITH mine AS (
        INSERT INTO cutover.progress (run, direction, component, batch, outcome)
        SELECT p_run, 'undo', a.component, p_batch, 'undone' FROM cutover.progress a
        WHERE a.run = p_run AND a.direction = 'apply' AND a.batch = p_batch AND a.outcome = 'applied'
          AND (p_only IS NULL OR a.component = ANY (p_only))
          AND a.component <> ALL (ARRAY(SELECT p.component FROM cutover.progress p
                          WHERE p.run = p_run AND p.direction = 'undo' AND p.batch = p_batch))
        RETURNING component)
    SELECT coalesce(array_agg(component), '{}') INTO components FROM mine;
    IF components = '{}' THEN
        RETURN jsonb_build_object('applied', 0, 'present', 0, 'missed', 0, 'refused', 0, 'effects', '[]'::jsonb);
    END IF;
    SET CONSTRAINTS ALL DEFERRED;
    PERFORM cutover.by_key(true), set_config('plan_cache_mode', 'force_custom_plan', true);
    counted := cutover.written();
    -- Every row must still be what the apply left; rows that it deleted must still be gone.
    FOR target IN SELECT t.* FROM cutover.target t WHERE t.run = p_run AND EXISTS (
        SELECT FROM cutover.step s WHERE s.run = p_run AND s.batch = p_batch AND s.tbl = t.tbl) ORDER BY t.tbl
    LOOP
        IF cardinality(target.key_columns) = 0 THEN
            FOR hit IN EXECUTE format(
                'SELECT s.component, s.no FROM cutover.step s JOIN cutover.after a USING (run, no)
                 WHERE s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.component = ANY ($4) AND s.action = ''i''
                   AND (SELECT count(*) FROM (SELECT FROM %s t WHERE (t.*)::text = a.image LIMIT s.copies FOR UPDATE) x) < s.copies',
                target.scan) USING p_run, p_batch, target.tbl, components
            LOOP
                refused := refused || hit.component;
            END LOOP;
            CONTINUE;
        END IF;
        FOR hit IN EXECUTE format(
            'SELECT y.* FROM (SELECT s.component, s.no, s.action, a.image AS wanted, x.image FROM cutover.step s
             LEFT JOIN cutover.after a USING (run, no) LEFT JOIN cutover.before b USING (run, no)
             LEFT JOIN LATERAL (SELECT (t.*)::text AS image FROM %s t WHERE %s FOR UPDATE) x ON true
             WHERE s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.component = ANY ($4) AND s.last
               AND (a.no IS NOT NULL OR (s.action = ''d'' AND b.hit = ''hit''))
             ORDER BY s.no OFFSET 0) y WHERE y.image IS DISTINCT FROM y.wanted', target.scan, target.key_match)
            USING p_run, p_batch, target.tbl, components
        LOOP
            refused := refused || hit.component;
            UPDATE cutover.progress SET outcome = 'refused', why = concat_ws('; ', nullif(why, ''), format('%s.%s %s %s',
                target.schema_name, target.table_name,
                (SELECT array_to_string(key, ', ') FROM cutover.step WHERE run = p_run AND no = hit.no),
                CASE WHEN hit.image IS NULL THEN 'is gone since' WHEN hit.wanted IS NULL THEN 'exists again'
                     ELSE 'was changed since' END))
            WHERE run = p_run AND direction = 'undo' AND batch = p_batch AND component = hit.component;
        END LOOP;
    END LOOP;
    UPDATE cutover.progress SET outcome = 'refused', why = coalesce(nullif(why, ''), 'rows without a key were changed since')
    WHERE run = p_run AND direction = 'undo' AND batch = p_batch AND component = ANY (refused);
    components := ARRAY(SELECT unnest(components) EXCEPT SELECT unnest(refused));
    FOR part IN
        SELECT s.level, s.tbl, s.action, coalesce(a.effect, false) AS effect, s.cols, sum(s.copies) AS wanted
        FROM cutover.step s LEFT JOIN cutover.after a USING (run, no) LEFT JOIN cutover.before b USING (run, no)
        WHERE s.run = p_run AND s.batch = p_batch AND s.component = ANY (components)
          AND (a.no IS NOT NULL OR (s.action = 'd' AND b.hit = 'hit'))
        GROUP BY 1, 2, 3, 4, 5 ORDER BY s.level DESC, s.tbl DESC, s.action
    LOOP
        SELECT * INTO target FROM cutover.target WHERE run = p_run AND tbl = part.tbl;
        IF part.action = 'i' AND cardinality(target.key_columns) > 0 THEN
            PERFORM cutover.refuse_children(p_run, p_batch, part.level, part.action, components, ARRAY(
                SELECT s.no FROM cutover.step s WHERE s.run = p_run AND s.batch = p_batch AND s.action = 'i'
                  AND NOT EXISTS (SELECT FROM cutover.after a WHERE a.run = s.run AND a.no = s.no)), target);
        END IF;
        EXECUTE cutover.undo_statement(target, part.action, part.cols, part.effect) INTO n
            USING p_run, p_batch, part.level, part.tbl, part.action, part.cols, components, part.effect;
        IF n <> part.wanted THEN
            RAISE EXCEPTION '% of % rows of %.% could be put back', n, part.wanted, target.schema_name, target.table_name
                USING ERRCODE = 'CU002';
        END IF;
        rel := (target.rel::regclass::oid)::text;
        slot := CASE part.action WHEN 'i' THEN 2 WHEN 'u' THEN 1 ELSE 0 END;
        own := jsonb_set(own, ARRAY[rel], coalesce(own -> rel, '[0, 0, 0]'));
        own := jsonb_set(own, ARRAY[rel, slot::text], to_jsonb((own -> rel ->> slot)::bigint + part.wanted));
    END LOOP;
    SET CONSTRAINTS ALL IMMEDIATE;
    effects := cutover.undo_effects(p_run, p_batch, components, counted, own);
    PERFORM cutover.refuse_effects(p_run, effects);
    RETURN (SELECT jsonb_build_object(
        'applied', count(*) FILTER (WHERE outcome = 'undone'), 'present', 0, 'missed', 0,
        'refused', count(*) FILTER (WHERE outcome = 'refused'), 'effects', effects)
        FROM cutover.progress WHERE run = p_run AND direction = 'undo' AND batch = p_batch AND component = ANY (components || refused));
END
$body$;

CREATE OR REPLACE FUNCTION cutover.undo_statement(p_target cutover.target, p_action "char", p_cols integer[], p_effect boolean)
RETURNS text LANGUAGE plpgsql STABLE AS $body$
DECLARE
    filter text := 's.run = $1 AND s.batch = $2 AND s.level = $3 AND s.tbl = $4 AND s.action = $5 AND s.cols = $6
                    AND s.component = ANY ($7)';
    names text;
    vals text;
    sets text;
BEGIN
    SELECT string_agg(format('%I', attname), ', ' ORDER BY attnum),
           string_agg(format('(x.r).%I', attname), ', ' ORDER BY attnum),
           string_agg(format('%1$I = (x.r).%1$I', attname), ', ' ORDER BY attnum)
               FILTER (WHERE CASE WHEN p_effect THEN attidentity <> 'a' ELSE array_position(p_target.columns, attname::text) = ANY (p_cols) END)
    INTO names, vals, sets
    FROM pg_attribute WHERE attrelid = p_target.rel::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    CASE p_action
        WHEN 'i' THEN
            IF cardinality(p_target.key_columns) = 0 THEN
                RETURN format(
                    'WITH w AS (DELETE FROM %1$s d USING cutover.step s JOIN cutover.after a USING (run, no) CROSS JOIN LATERAL (
                         SELECT t.tableoid AS o, t.ctid AS c FROM %1$s t WHERE (t.*)::text = a.image LIMIT s.copies) x
                         WHERE d.tableoid = x.o AND d.ctid = x.c AND %2$s AND a.effect = $8 RETURNING 1)
                     SELECT count(*) FROM w', p_target.scan, filter);
            END IF;
            RETURN format(
                'WITH w AS (DELETE FROM %s t USING cutover.step s, cutover.after a
                     WHERE a.run = s.run AND a.no = s.no AND a.effect = $8 AND %s AND %s AND (NOT s.last OR (t.*)::text = a.image) RETURNING 1)
                 SELECT count(*) FROM w', p_target.scan, filter, p_target.key_match);
        WHEN 'u' THEN
            RETURN format(
                'WITH w AS (UPDATE %s t SET %s FROM cutover.step s JOIN cutover.after a USING (run, no) JOIN cutover.before b USING (run, no)
                     CROSS JOIN LATERAL (SELECT b.image::%s AS r OFFSET 0) x
                     WHERE a.effect = $8 AND %s AND %s AND (NOT s.last OR (t.*)::text = a.image) RETURNING 1)
                 SELECT count(*) FROM w', p_target.scan, sets, p_target.rel, filter, p_target.key_match);
        ELSE
            RETURN format(
                'WITH w AS (INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE SELECT %3$s FROM cutover.step s
                     JOIN cutover.before b USING (run, no) CROSS JOIN LATERAL (SELECT b.image::%1$s AS r OFFSET 0) x,
                     generate_series(1, s.copies)
                     WHERE b.hit = ''hit'' AND NOT $8 AND %4$s ORDER BY s.no RETURNING 1) SELECT count(*) FROM w',
                p_target.rel, names, vals, filter);
    END CASE;
END
$body$;

-- As cutover.effects(): writes beyond our own, and rows that are not back to what they were.
CREATE OR REPLACE FUNCTION cutover.undo_effects(
    p_run uuid, p_batch integer, p_components integer[], p_before jsonb, p_own jsonb) RETURNS jsonb LANGUAGE plpgsql AS $body$
DECLARE
    extra record;
    target cutover.target;
    result jsonb := '[]';
    n bigint;
    now_written jsonb := cutover.written();
BEGIN
    FOR extra IN SELECT * FROM cutover.unexplained(p_before, now_written, p_own)
                 WHERE p_before <> '{}' OR now_written <> p_own LOOP
        result := result || jsonb_build_object('table', (SELECT nspname || '.' || relname FROM pg_class c
            JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = extra.rel),
            'inserted', extra.inserted, 'updated', extra.updated, 'deleted', extra.deleted);
    END LOOP;
    FOR target IN SELECT t.* FROM cutover.target t WHERE t.run = p_run AND cardinality(t.key_columns) > 0 AND EXISTS (
        SELECT FROM cutover.step s WHERE s.run = p_run AND s.batch = p_batch AND s.tbl = t.tbl) ORDER BY t.tbl
    LOOP
        EXECUTE format(
            'SELECT count(*) FROM cutover.step s JOIN cutover.before b USING (run, no) JOIN %s t ON %s
             WHERE s.run = $1 AND s.batch = $2 AND s.tbl = $3 AND s.component = ANY ($4) AND s.first AND b.hit IN (''hit'', ''add'')
               AND (t.*)::text <> b.image', target.scan, target.key_match)
            INTO n USING p_run, p_batch, target.tbl, p_components;
        IF n > 0 THEN
            result := result || jsonb_build_object('table', target.schema_name || '.' || target.table_name, 'rows', n);
        END IF;
    END LOOP;
    RETURN result;
END
$body$;
