"""What the catalogue of one database says of its tables: raw, one side at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cutover.errors import CutoverError
from cutover.reconcile.model import Constraint, ForeignKey, TableName, Unique
from cutover.reconcile.source.session import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class RawColumn:
    """One column of one side.

    Attributes:
        type: ``format_type`` with its modifier, schema-qualified where not built in.
        base_type: ``typname`` (built in) or ``schema.typname`` below all domains.
        base_cast: what to cast to in order to strip domains (``format_type`` of the base type).
        type_class: ``pg_type.typtype`` of the base type (``e`` enum, ``c`` composite...), ``A`` for an array.
        modified: the base type has a modifier (``numeric(12,2)``: its scale is fixed).
        deterministic: its collation makes equal only what is the same text.
    """

    name: str
    type: str
    base_type: str
    base_cast: str
    type_class: str
    modified: bool
    not_null: bool
    generated: bool
    identity: str
    default: str | None
    sequence: TableName | None
    deterministic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One heap that is scanned: the table itself, or a partition that holds rows.

    Attributes:
        main: bytes of the rows' own file, ``whole`` with TOAST; both read after the snapshot was taken.
    """

    name: TableName
    oid: int
    main: int = 0
    whole: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTable:
    """One table of one side.

    Attributes:
        relkind: ``r`` table, ``p`` partitioned, ``v``/``m`` views, ``f`` foreign.
        leaves: what to scan; foreign partitions are in ``foreign_leaves`` instead.
        heap: every leaf is stored in a heap (row positions mean something).
        key_indexes: names of immediate, valid, whole, unique not-null indexes, the primary key first.
        trigger_sources: name -> (function name, function body, arguments) of enabled row triggers BEFORE UPDATE.
        filtered: row-level security applies to this role.
    """

    name: TableName
    oid: int
    relkind: str
    unlogged: bool
    heap: bool
    filtered: bool
    readable: bool
    columns: tuple[RawColumn, ...]
    leaves: tuple[Leaf, ...] = ()
    foreign_leaves: tuple[TableName, ...] = ()
    partition_columns: tuple[str, ...] = ()
    inherits: bool = False
    uniques: tuple[Unique, ...] = ()
    key_indexes: tuple[str, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    triggers: tuple[str, ...] = ()
    trigger_sources: Mapping[str, tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)
    generated_from: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def column(self, name: str) -> RawColumn | None:
        """Return the column of that name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All tables of one side within the plan's schemas, and what is unusual about the database."""

    tables: Mapping[TableName, RawTable]
    partitions: Mapping[TableName, TableName]
    missing_schemas: tuple[str, ...] = ()
    large_objects: int = 0


_RELATIONS = """
SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       c.relpersistence = 'u' AS unlogged, c.relispartition AS is_partition,
       coalesce(a.amname, 'heap') = 'heap' AS heap,
       has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT') AS readable,
       c.relrowsecurity AND row_security_active(c.oid) AS filtered,
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AND NOT c.relispartition AS inherits,
       CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid)::int8 END AS main,
       CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid)::int8 END AS whole,
       CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid::int8 END AS root,
       (SELECT array_agg(t.attname::text ORDER BY k.n)
          FROM pg_partitioned_table p, unnest(p.partattrs::int2[]) WITH ORDINALITY AS k(attnum, n)
          JOIN pg_attribute t ON t.attrelid = c.oid AND t.attnum = k.attnum
         WHERE p.partrelid = c.oid) AS partition_columns
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_am a ON a.oid = c.relam
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
   AND (n.nspname = ANY(%(schemas)s)
        OR c.relispartition AND pg_partition_root(c.oid) IN
           (SELECT x.oid FROM pg_class x JOIN pg_namespace y ON y.oid = x.relnamespace
             WHERE y.nspname = ANY(%(schemas)s)))
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""

_COLUMNS = """
WITH RECURSIVE bases AS (
    SELECT t.oid AS start, t.oid, t.typtype, t.typbasetype, t.typtypmod, false AS via FROM pg_type t
    UNION ALL
    SELECT b.start, t.oid, t.typtype, t.typbasetype,
           CASE WHEN b.typtypmod >= 0 THEN b.typtypmod ELSE t.typtypmod END, true
      FROM bases b JOIN pg_type t ON b.typtype = 'd' AND t.oid = b.typbasetype
)
SELECT a.attrelid::int8 AS relation, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       CASE WHEN tn.nspname = 'pg_catalog' THEN '' ELSE tn.nspname || '.' END || t.typname AS base_type,
       format_type(t.oid, NULL) AS base_cast,
       CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN 'A' ELSE t.typtype::text END AS type_class,
       a.atttypmod >= 0 OR b.via AND b.typtypmod >= 0 AS modified,
       a.attnotnull
       AND NOT EXISTS (SELECT FROM pg_constraint v WHERE v.conrelid = a.attrelid AND v.contype = 'n'
                          AND NOT v.convalidated AND v.conkey = ARRAY[a.attnum])
       OR (SELECT d.typnotnull FROM pg_type d WHERE d.oid = a.atttypid) AS not_null,
       a.attgenerated <> '' AS generated,
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' ELSE '' END AS identity,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default,
       coalesce(o.collisdeterministic, true) AS deterministic,
       sq.nspname AS sequence_schema, sq.relname AS sequence_name
  FROM pg_attribute a
  JOIN bases b ON b.start = a.atttypid AND b.typtype <> 'd'
  JOIN pg_type t ON t.oid = b.oid
  JOIN pg_namespace tn ON tn.oid = t.typnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_collation o ON o.oid = a.attcollation
  LEFT JOIN LATERAL (
      SELECT sn.nspname, s.relname
        FROM pg_depend p
        JOIN pg_class s ON s.relkind = 'S'
         AND (p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
              AND p.refclassid = 'pg_class'::regclass AND p.refobjid = s.oid
              OR a.attidentity <> '' AND p.classid = 'pg_class'::regclass AND p.objid = s.oid
              AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid
              AND p.refobjsubid = a.attnum AND p.deptype = 'i')
        JOIN pg_namespace sn ON sn.oid = s.relnamespace
       WHERE d.oid IS NOT NULL OR a.attidentity <> ''
       LIMIT 1) sq ON a.attidentity <> '' OR d.oid IS NOT NULL
 WHERE a.attrelid = ANY(%(oids)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""

_INDEXES = """
SELECT i.indrelid::int8 AS relation, c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition,
       i.indisprimary AS primary, i.indpred IS NOT NULL AS partial, NOT i.indimmediate AS deferrable,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) AS nulls_not_distinct,
       i.indexprs IS NOT NULL AS expression, i.indisvalid AND i.indislive AS valid,
       (SELECT array_agg(a.attname::text ORDER BY k.n)
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE k.n <= i.indnkeyatts) AS columns,
       (SELECT bool_and(a.attnotnull
                        AND NOT EXISTS (SELECT FROM pg_constraint v
                                         WHERE v.conrelid = a.attrelid AND v.contype = 'n'
                                           AND NOT v.convalidated AND v.conkey = ARRAY[a.attnum]))
          FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE k.n <= i.indnkeyatts) AS not_null,
       (SELECT array_agg(DISTINCT a.attname::text)
          FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
         WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
           AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
        ) AS touches
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE i.indrelid = ANY(%(oids)s::oid[]) AND i.indisunique
 ORDER BY i.indrelid, i.indisprimary DESC, c.relname COLLATE "C"
"""

_CONSTRAINTS = """
SELECT k.conrelid::int8 AS relation, k.conname AS name, k.contype::text AS kind,
       pg_get_constraintdef(k.oid) AS definition, k.condeferrable AS deferrable,
       coalesce((to_jsonb(k) ->> 'conperiod')::bool, false) AS period,
       coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) AS enforced,
       CASE k.confdeltype WHEN 'r' THEN 'restrict' WHEN 'c' THEN 'cascade' WHEN 'n' THEN 'set null'
            WHEN 'd' THEN 'set default' ELSE 'no action' END AS on_delete,
       fn.nspname AS to_schema, fc.relname AS to_name, k.confrelid::int8 AS to_relation,
       (SELECT array_agg(a.attname::text ORDER BY u.n)
          FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, n)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum) AS columns,
       (SELECT array_agg(a.attname::text ORDER BY u.n)
          FROM unnest(k.confkey) WITH ORDINALITY AS u(attnum, n)
          JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum) AS to_columns,
       (SELECT array_agg(DISTINCT a.attname::text)
          FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
         WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = k.conrelid AND d.refobjsubid > 0
           AND (d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                OR d.classid = 'pg_class'::regclass AND d.objid = k.conindid)) AS touches
  FROM pg_constraint k
  LEFT JOIN pg_class fc ON fc.oid = k.confrelid
  LEFT JOIN pg_namespace fn ON fn.oid = fc.relnamespace
 WHERE k.conrelid = ANY(%(oids)s::oid[]) AND k.conparentid = 0
   AND (k.contype IN ('c', 'f', 'x') OR k.contype IN ('p', 'u') AND (to_jsonb(k) ->> 'conperiod')::bool)
 ORDER BY k.conrelid, k.conname COLLATE "C"
"""

_TRIGGERS = """
SELECT t.tgrelid::int8 AS relation, t.tgname AS name, p.proname AS function, p.prosrc AS source,
       encode(t.tgargs, 'hex') AS arguments,
       t.tgtype::int & 1 = 1 AND t.tgtype::int & 2 = 2 AND t.tgtype::int & 16 = 16 AS before_update
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
 WHERE t.tgrelid = ANY(%(oids)s::oid[]) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
 ORDER BY t.tgrelid, t.tgname COLLATE "C"
"""

_GENERATED = """
SELECT d.adrelid::int8 AS relation, g.attname::text AS name,
       array_agg(DISTINCT a.attname::text) AS columns
  FROM pg_attrdef d
  JOIN pg_attribute g ON g.attrelid = d.adrelid AND g.attnum = d.adnum AND g.attgenerated <> ''
  JOIN pg_depend p ON p.refclassid = 'pg_class'::regclass AND p.refobjid = d.adrelid AND p.refobjsubid > 0
       AND (p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid
            OR p.classid = 'pg_class'::regclass AND p.objid = d.adrelid AND p.objsubid = d.adnum)
  JOIN pg_attribute a ON a.attrelid = p.refobjid AND a.attnum = p.refobjsubid
 WHERE d.adrelid = ANY(%(oids)s::oid[])
 GROUP BY 1, 2
"""


def read_catalogue(database: Database, schemas: Iterable[str]) -> Catalogue:
    """Read everything about the tables of ``schemas``, within the database's snapshot.

    Raises:
        CutoverError: the database cannot be read.
    """
    wanted = list(schemas)
    present = {
        row["nspname"] for row in database.dicts("SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)", [wanted])
    }
    unusable = [
        row["nspname"]
        for row in database.dicts(
            "SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s) AND NOT has_schema_privilege(oid, 'USAGE')",
            [wanted],
        )
    ]
    if unusable:
        raise CutoverError(
            f"{database.where}: permission denied for schema {unusable[0]}",
            f"grant USAGE on schema {unusable[0]} to the role of the URL",
            exit_code=4,
        )
    relations = database.dicts(_RELATIONS, {"schemas": wanted})
    names = {row["oid"]: TableName(row["schema"], row["name"]) for row in relations}
    oids = {"oids": list(names)}
    columns = _by_relation(database.dicts(_COLUMNS, oids))
    indexes = _by_relation(database.dicts(_INDEXES, oids))
    constraints = _by_relation(database.dicts(_CONSTRAINTS, oids))
    triggers = _by_relation(database.dicts(_TRIGGERS, oids))
    generated = _by_relation(database.dicts(_GENERATED, oids))
    large = database.dicts("SELECT count(*) AS n FROM pg_largeobject_metadata")[0]["n"]

    leaves: dict[int, list[Leaf]] = defaultdict(list)
    foreign: dict[int, list[TableName]] = defaultdict(list)
    heap: dict[int, bool] = defaultdict(lambda: True)
    partitions: dict[TableName, TableName] = {}
    for row in relations:
        root = row["root"] if row["is_partition"] else row["oid"]
        if row["is_partition"] and root in names:
            partitions[names[row["oid"]]] = names[root]
        if row["kind"] == "r":
            leaves[root].append(
                Leaf(name=names[row["oid"]], oid=row["oid"], main=row["main"] or 0, whole=row["whole"] or 0)
            )
            heap[root] = heap[root] and row["heap"]
        elif row["kind"] == "f" and row["is_partition"]:
            foreign[root].append(names[row["oid"]])
    tables = {}
    for row in relations:
        oid = row["oid"]
        if row["is_partition"] or row["schema"] not in wanted:
            continue
        tables[names[oid]] = RawTable(
            name=names[oid],
            oid=oid,
            relkind=row["kind"],
            unlogged=row["unlogged"],
            heap=heap[oid],
            filtered=row["filtered"],
            readable=row["readable"],
            columns=tuple(_column(each) for each in columns[oid]),
            leaves=tuple(leaves[oid]),
            foreign_leaves=tuple(foreign[oid]),
            partition_columns=tuple(row["partition_columns"] or ()),
            inherits=row["inherits"],
            uniques=tuple(_unique(each) for each in indexes[oid] if each["valid"]),
            key_indexes=tuple(
                each["name"]
                for each in indexes[oid]
                if each["valid"] and each["not_null"] and not (each["partial"] or each["expression"])
            ),
            constraints=tuple(
                Constraint(
                    name=each["name"],
                    kind="check" if each["kind"] == "c" else "exclude",
                    columns=tuple(each["touches"] or each["columns"] or ()),
                    definition=each["definition"],
                )
                for each in constraints[oid]
                if each["kind"] != "f"
            ),
            foreign_keys=tuple(
                _foreign_key(names[oid], each, names) for each in constraints[oid] if each["kind"] == "f"
            ),
            triggers=tuple(each["name"] for each in triggers[oid]),
            trigger_sources={
                each["name"]: (each["function"], each["source"], _arguments(each["arguments"]))
                for each in triggers[oid]
                if each["before_update"]
            },
            generated_from={each["name"]: frozenset(each["columns"]) - {each["name"]} for each in generated[oid]},
        )
    return Catalogue(
        tables=tables,
        partitions=partitions,
        missing_schemas=tuple(schema for schema in wanted if schema not in present),
        large_objects=large,
    )


def _by_relation(rows: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["relation"]].append(row)
    return found


def _column(row: dict[str, Any]) -> RawColumn:
    return RawColumn(
        name=row["name"],
        type=row["type"],
        base_type=row["base_type"],
        base_cast=row["base_cast"],
        type_class=row["type_class"],
        modified=row["modified"],
        not_null=row["not_null"],
        generated=row["generated"],
        identity=row["identity"],
        default=row["default"],
        sequence=TableName(row["sequence_schema"], row["sequence_name"]) if row["sequence_name"] else None,
        deterministic=row["deterministic"],
    )


def _unique(row: dict[str, Any]) -> Unique:
    return Unique(
        name=row["name"],
        columns=() if row["expression"] else tuple(row["columns"] or ()),
        definition=row["definition"],
        primary=row["primary"],
        partial=row["partial"],
        deferrable=row["deferrable"],
        nulls_not_distinct=row["nulls_not_distinct"],
        touches=tuple(dict.fromkeys([*(row["columns"] or ()), *(row["touches"] or ())])),
    )


def _foreign_key(table: TableName, row: dict[str, Any], names: Mapping[int, TableName]) -> ForeignKey:
    # A period is contained in others, not equal to one: the server judges it, the rest of the key is judged here.
    parts = slice(-1) if row["period"] else slice(None)
    return ForeignKey(
        name=row["name"],
        table=table,
        columns=tuple(row["columns"][parts]),
        to_table=names.get(row["to_relation"], TableName(row["to_schema"], row["to_name"])),
        to_columns=tuple(row["to_columns"][parts]),
        on_delete=row["on_delete"],
        deferrable=row["deferrable"],
        # nobody vouches for it, as for one that only the plan names
        declared=not row["enforced"],
    )


def _arguments(encoded: str) -> tuple[str, ...]:
    raw = bytes.fromhex(encoded)
    return tuple(part.decode(errors="replace") for part in raw.split(b"\0")[:-1])
