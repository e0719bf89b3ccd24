-- The state of an apply, in the target itself: what is to be done, what was done, and the images to undo it.
-- Every table has a primary key: a publication FOR ALL TABLES refuses updates of tables without one.
CREATE SCHEMA IF NOT EXISTS cutover;

CREATE TABLE IF NOT EXISTS cutover.run (
    run uuid PRIMARY KEY,
    bundle text NOT NULL,
    protocol integer NOT NULL,
    old_snapshot_at timestamptz NOT NULL,
    batches integer NOT NULL,
    components integer NOT NULL,
    steps integer NOT NULL,
    state text NOT NULL CHECK (state IN ('staged', 'drawn', 'undoing')),
    staged_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One table of the change set. Positions count from 1 in "columns". What follows "shape" is made by prepare().
CREATE TABLE IF NOT EXISTS cutover.target (
    run uuid NOT NULL,
    tbl integer NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    columns text[] NOT NULL,
    key_columns text[] NOT NULL,
    absent text[] NOT NULL,
    loose integer[] NOT NULL,
    adds integer[] NOT NULL,
    sequence_name text,
    shape text,
    rel text,
    scan text,
    key_match text,
    guard text,
    guard_add text,
    same text,
    PRIMARY KEY (run, tbl)
);

-- References that the plan declares; foreign keys are read from the catalogue.
CREATE TABLE IF NOT EXISTS cutover.reference (
    run uuid NOT NULL,
    n integer NOT NULL,
    from_schema text NOT NULL,
    from_table text NOT NULL,
    from_column text NOT NULL,
    json_path text[] NOT NULL,
    to_schema text NOT NULL,
    to_table text NOT NULL,
    to_column text NOT NULL,
    condition jsonb NOT NULL,
    PRIMARY KEY (run, n)
);

CREATE TABLE IF NOT EXISTS cutover.sequence (
    run uuid NOT NULL,
    sequence_name text NOT NULL,
    advance_to bigint NOT NULL,
    PRIMARY KEY (run, sequence_name)
);

CREATE TABLE IF NOT EXISTS cutover.id_map (
    run uuid NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    column_name text NOT NULL,
    old_id text NOT NULL,
    new_id text,
    how text NOT NULL,
    PRIMARY KEY (run, schema_name, table_name, column_name, old_id)
);

-- One row of the target from "pre" to "post". action: i, u, d. first, last: of the steps on the same row.
-- dangling: columns whose declared reference pointed nowhere on old either.
-- refs: places in key, pre and post that wait for the id map; NULL once they are filled in.
CREATE TABLE IF NOT EXISTS cutover.step (
    run uuid NOT NULL,
    no integer NOT NULL,
    batch integer NOT NULL,
    component integer NOT NULL,
    level integer NOT NULL,
    tbl integer NOT NULL,
    change integer NOT NULL,
    action "char" NOT NULL,
    first boolean NOT NULL,
    last boolean NOT NULL,
    copies integer NOT NULL,
    cols integer[] NOT NULL,
    key text[] NOT NULL,
    pre text[],
    post text[],
    loose_pre integer[] NOT NULL,
    loose_post integer[] NOT NULL,
    adds integer[] NOT NULL,
    delta text[],
    dangling integer[] NOT NULL DEFAULT '{}',
    refs jsonb,
    PRIMARY KEY (run, no)
);
-- A table that an earlier version made; asked first, because ALTER waits for whoever dumps the database.
DO $body$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'cutover.step'::regclass AND attname = 'dangling') THEN
        ALTER TABLE cutover.step ADD COLUMN dangling integer[] NOT NULL DEFAULT '{}';
    END IF;
END
$body$;
CREATE INDEX IF NOT EXISTS step_batch ON cutover.step (run, batch, level);

-- The outcome of one component: the first thing that its transaction writes.
CREATE TABLE IF NOT EXISTS cutover.progress (
    run uuid NOT NULL,
    direction text NOT NULL CHECK (direction IN ('apply', 'undo')),
    component integer NOT NULL,
    batch integer NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('applied', 'present', 'missed', 'undone', 'refused')),
    why text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, direction, batch, component)
);

-- The row that a step found, and how it was judged: hit, present, add, miss.
CREATE TABLE IF NOT EXISTS cutover.before (
    run uuid NOT NULL,
    no integer NOT NULL,
    hit text NOT NULL,
    image text NOT NULL,
    PRIMARY KEY (run, no)
);

-- The row that a step left; effect: it is not what was planned (a trigger).
CREATE TABLE IF NOT EXISTS cutover.after (
    run uuid NOT NULL,
    no integer NOT NULL,
    image text NOT NULL,
    effect boolean NOT NULL,
    PRIMARY KEY (run, no)
);

CREATE TABLE IF NOT EXISTS cutover.accepted (
    run uuid NOT NULL,
    table_name text NOT NULL,
    PRIMARY KEY (run, table_name)
);
