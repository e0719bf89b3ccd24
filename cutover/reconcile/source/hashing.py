"""SQL that hashes a row so that equal hashes mean equal text (DESIGN.md 7), and what text a type needs.

A type's own hash may stand for it only where equality implies equal text, and where it tells all values apart
in 64 bits. Elsewhere either a fixed binary image that is as telling as the text is hashed (``float8send`` tells
0 from -0), or the text itself. Two of the server's hashes tell less than they seem to: ``hashint8extended`` folds
its value to 32 bits first, so that -1 and 4294967295 are one (likewise for times, which are int8 inside), and
``hash_numeric_extended`` leaves out the sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from psycopg import sql

from cutover.reconcile.source.catalogue import RawColumn, RawTable

_NATIVE = frozenset(
    {
        *("int2", "int4", "int8", "bool", "uuid", "oid", "xid8", "pg_lsn", "bytea"),
        *("date", "time", "timestamp", "timestamptz"),
        *("text", "varchar", "name", "char"),
        *("macaddr", "macaddr8", "inet", "cidr"),
    }
)
_COLLATED = frozenset(["text", "varchar", "name"])
_SENT: Mapping[str, str] = {
    # numeric's own hash is the seed for NaN, both infinities and (in a record) NULL, and ignores the scale.
    "numeric": "numeric_send",
    "float4": "float4send",
    "float8": "float8send",
    "interval": "interval_send",
    "timetz": "timetz_send",
    "money": "cash_send",
    # Their own hashes are those of an int8: folded to 32 bits.
    "time": "time_send",
    "timestamp": "timestamp_send",
    "timestamptz": "timestamptz_send",
    "xid8": "xid8send",
    "pg_lsn": "pg_lsn_send",
}
_WIDENS: Mapping[str, frozenset[str]] = {
    "int2": frozenset({"int4", "int8"}),
    "int4": frozenset({"int8"}),
    "varchar": frozenset({"text"}),
    "text": frozenset({"varchar"}),
}


class HashLevel(StrEnum):
    """What the servers agree on, found by hashing the same typed sample on each at connect."""

    NATIVE = "the types' own hashes"
    TEXT = "hashes of text"
    MD5 = "md5 of text"


def text_hash(column: RawColumn) -> bool:
    """Tell whether equal values of the column can look different (or the type has no hash)."""
    if column.type_class == "A":
        return True
    if column.base_type == "numeric":
        return not column.modified
    return column.base_type not in _NATIVE or not column.deterministic


def same_text(old: RawColumn, new: RawColumn) -> bool:
    """Tell whether the same value has the same text under both columns' types."""
    if old.base_type == new.base_type:
        return old.type == new.type or old.base_type not in {
            "numeric",
            "bpchar",
            "bit",
            "timestamp",
            "timestamptz",
            "time",
            "timetz",
            "interval",
        }
    return new.base_type in _WIDENS.get(old.base_type, ()) or old.base_type in _WIDENS.get(new.base_type, ())


def _term(column: RawColumn, level: HashLevel, *, transcode: bool, as_text: bool, own_numeric: bool) -> sql.Composable:
    value = sql.Identifier(column.name)
    text = sql.SQL("{}::text").format(value)
    if transcode:
        text = sql.SQL("convert_to({}, 'UTF8')").format(text)
    elif not column.deterministic:
        text = sql.SQL('({} COLLATE "C")').format(text)
    if level is not HashLevel.NATIVE or as_text:
        return text
    base = column.base_type
    if column.type_class != "A":
        if base in {"int2", "int4", "int8"}:
            return sql.SQL("{}::int8").format(value)
        if base in _COLLATED:
            return text
        if base == "numeric" and own_numeric:
            return sql.SQL("{0}::numeric, {0}::numeric < 0").format(value)
        if base in _SENT:
            return sql.SQL("{}({}::{})").format(sql.Identifier(_SENT[base]), value, sql.SQL(column.base_cast))
        if base in _NATIVE:
            return sql.SQL("{}::{}").format(value, sql.SQL(column.base_cast))
    return text


def row_hash(
    table: RawTable,
    columns: Sequence[str],
    level: HashLevel,
    *,
    transcode: bool = False,
    retyped: frozenset[str] = frozenset(),
    own_numeric: frozenset[str] = frozenset(),
    wide: frozenset[str] = frozenset(),
) -> sql.Composable:
    """Return an int8 expression over ``columns`` of ``table``, in that order; absent columns count as NULL.

    Args:
        table: the side's own table.
        columns: the same names in the same order on every side.
        level: what the servers agree on.
        transcode: the databases' encodings differ, so bytes of text must be brought to UTF-8 first.
        retyped: columns whose types differ between the sides: their text is hashed.
        own_numeric: numeric columns whose own hash and sign tell everything: a fixed scale, never NULL on any side.
        wide: columns that are int8 on any side: what folding loses is added to the hash.
    """
    terms: list[sql.Composable] = []
    for name in columns:
        column = table.column(name)
        if column is None:
            terms.append(sql.SQL("NULL::int8"))
        else:
            terms.append(
                _term(
                    column,
                    level,
                    transcode=transcode,
                    as_text=name in retyped,
                    own_numeric=name in own_numeric,
                )
            )
    if not terms:
        return sql.SQL("0::int8")
    row = sql.SQL("ROW({})").format(sql.SQL(", ").join(terms))
    if level is HashLevel.MD5:
        return sql.SQL("('x' || substr(md5({}::text), 1, 16))::bit(64)::int8").format(row)
    # Hashes are compared row by row, never added up: no further mixing is needed.
    parts: list[sql.Composable] = [sql.SQL("hash_record_extended({}, 0)").format(row)]
    if level is HashLevel.NATIVE:
        # Values with one fold differ in their low halves, which no shift below 32 loses.
        parts += [
            sql.SQL("(coalesce({}::int8, 0) << {})").format(sql.Identifier(name), sql.SQL(str(7 * number % 32)))
            for number, name in enumerate(each for each in columns if each in wide and each not in retyped)
            if table.column(name) is not None
        ]
    return sql.SQL("({})").format(sql.SQL(" # ").join(parts))


def key_expression(
    table: RawTable,
    key: Sequence[str],
    level: HashLevel,
    *,
    integer: bool,
    transcode: bool = False,
    retyped: frozenset[str] = frozenset(),
    wide: frozenset[str] = frozenset(),
) -> sql.Composable:
    """Return an int8 expression for the key: the integer itself, or a hash of the key's text."""
    if integer:
        return sql.SQL("{}::int8").format(sql.Identifier(key[0]))
    return row_hash(table, key, level, transcode=transcode, retyped=retyped, wide=wide)


SELF_CHECK = """
SELECT hash_record_extended(ROW(
           1::int8, -7::int4, true, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, date '2024-02-29',
           timestamptz '2024-02-29 12:34:56.789012+00', timestamp 'infinity', time '23:59:59.999999',
           '\\x00ff'::bytea, 'Some text'::text, ''::text, NULL::text, 12.50::numeric(12,2),
           numeric_send(12.50::numeric(12,2)), numeric_send('NaN'::numeric),
           float8send(0.1), interval_send('1 day'), timestamptz_send('2024-02-29 12:34:56.789012+00'),
           timestamp_send('infinity'), time_send('23:59:59.999999'), -4294967297::int8,
           '10.1.2.3/24'::inet, '08:00:2b:01:02:03'::macaddr, repeat('long ', 400)), 0)::text,
       hash_record_extended(ROW('Some text'::text, ''::text, NULL::text, repeat('long ', 400)), 0)::text
"""
"""Hashes of a typed sample (first) and of plain text (second): compared between the servers."""
