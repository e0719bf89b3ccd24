"""``report.html``: one file, nothing fetched, no script; every value from a database is escaped. No I/O."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator

from cutover.reconcile.merge.accounting import CLASSES, text_key
from cutover.reconcile.merge.cells import Cell, Cells, NewId, show
from cutover.reconcile.merge.judged import Judged
from cutover.reconcile.merge.merge import MergeResult
from cutover.reconcile.model import Decision
from cutover.reconcile.review.summary import Summary, worst

SHOWN = 300
"""Rows of a list; the bundle's files hold them all."""
_LONG = 300
_UNFOLDED = 20

_STYLE = """\
:root{color-scheme:light dark;--line:#c8ccd2;--soft:#f2f4f6;--bad:#b3001b;--good:#1a6b2d;--mark:#fff1c2}
@media (prefers-color-scheme:dark){:root{--line:#454b54;--soft:#20242a;--bad:#ff8a8f;--good:#7fd495;--mark:#4a3f12}}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;min-width:20rem}
th,td{border:1px solid var(--line);padding:.25rem .5rem;text-align:left;vertical-align:top}
th{background:var(--soft);font-weight:600}td.n{white-space:nowrap}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
code,td.v{font-family:ui-monospace,monospace;font-size:.85rem;overflow-wrap:anywhere}
.bad{color:var(--bad);font-weight:700}.good{color:var(--good);font-weight:700}.null{opacity:.6;font-style:italic}
tr.differs td{background:var(--mark)}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.4rem .7rem}
summary{cursor:pointer;overflow-wrap:anywhere}.next{background:var(--soft);padding:.6rem .8rem;border-radius:.4rem}
@media print{body{max-width:none;font-size:11px}details{break-inside:avoid}.scroll{overflow:visible}
details::details-content{content-visibility:visible;height:auto}}
"""


def render_html(summary: Summary, result: MergeResult) -> Iterator[str]:
    """Yield the report."""
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    yield f"<title>{_e(summary.migration)}: {summary.verdict}</title>\n<style>\n{_STYLE}</style></head><body>\n"
    yield from _head(summary)
    yield from _sums(summary)
    yield from _conflicts(summary)
    yield from _merged(result)
    yield from _dropped(result)
    yield from _overwritten(result)
    yield from _ids(result)
    yield from _effects(result)
    yield from _owners(summary)
    yield from _list("Could not be seen", summary.unseen)
    yield from _list("Worth a look", summary.warnings)
    yield from _list("Not compared and not counted", [f"{name}: {why}" for name, why in summary.left_out.items()])
    yield from _list("Notes", summary.notes)
    yield "</body></html>\n"


def _e(text: object) -> str:
    return html.escape(str(text), quote=True)


def _head(summary: Summary) -> Iterator[str]:
    good = "good" if summary.verdict in ("clean", "mergeable") else "bad"
    yield f'<h1>{_e(summary.migration)}: <span class="{good}">{summary.verdict}</span></h1>\n'
    yield f"<p>{summary.at:%Y-%m-%d %H:%M:%S} UTC &middot; bundle <code>{_e(summary.bundle)}</code>"
    yield f" &middot; {_e(summary.base)}</p>\n"
    conflicts = sum(each.classes.get(Decision.CONFLICT, 0) for each in summary.tables)
    changes = sum(each.old.total for each in summary.tables)
    yield f"<p>{changes} change(s) of old; {conflicts} left for people."
    if summary.overwritten:
        yield f' <span class="bad">{summary.overwritten} change(s) of new are overwritten.</span>'
    yield f'</p>\n<p class="next">Next: <code>{_e(summary.next_command)}</code></p>\n'


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], numbers: int = 0) -> Iterator[str]:
    """Yield a table; the last ``numbers`` columns are numbers. Cells are HTML already."""
    heads = list(heads)
    text = len(heads) - numbers
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f"<th{' class=n' if place >= text else ''}>{head}</th>" for place, head in enumerate(heads))
    yield "</tr></thead><tbody>\n"
    for row in rows:
        yield "<tr>"
        yield "".join(f"<td{' class=n' if place >= text else ''}>{cell}</td>" for place, cell in enumerate(row))
        yield "</tr>\n"
    yield "</tbody></table></div>\n"


def _sums(summary: Summary) -> Iterator[str]:
    yield "<h2>Every change, in exactly one class</h2>\n"
    heads = ["table", "base", "old + / ~ / &minus;", "new + / ~ / &minus;"]
    heads += ["new overwritten", *(name.value.replace("_", " ") for name in CLASSES), "new kept", "new merged"]
    rows = []
    for each in summary.tables:
        over = f'<span class="bad">{each.overwritten}</span>' if each.overwritten else "0"
        counts = [each.classes.get(name, 0) for name in CLASSES]
        cells = [
            f'<span class="bad">{n}</span>' if n and name is Decision.CONFLICT else str(n)
            for name, n in zip(CLASSES, counts, strict=True)
        ]
        kind = summary.base_kinds.get(each.table)
        rows.append(
            [
                _e(each.table),
                "" if kind is None else kind.value,
                " / ".join(map(str, each.old)),
                " / ".join(map(str, each.new)),
                over,
                *cells,
                str(each.kept),
                str(each.merged),
            ]
        )
    yield from _table(heads, rows, len(heads) - 2)


def _conflicts(summary: Summary) -> Iterator[str]:
    conflicts = summary.conflicts
    if not conflicts:
        return
    yield f"<h2>Conflicts ({len(conflicts)})</h2>\n<p>Decide in <code>decisions.toml</code>: "
    yield "<code>take = &quot;old&quot;</code> or <code>take = &quot;new&quot;</code> for each, then "
    yield f"<code>cutover reconcile --bundle {_e(summary.bundle)}</code>.</p>\n"
    reasons = Counter((str(each.table.name), each.reason) for each in conflicts)
    yield from _table(["table", "reason", "rows"], ([_e(t), _e(r), str(n)] for (t, r), n in reasons.most_common()), 1)
    for place, each in enumerate(worst(conflicts, SHOWN)):
        yield from _conflict(each, unfolded=place < _UNFOLDED)
    if len(conflicts) > SHOWN:
        yield f"<p>and {len(conflicts) - SHOWN} more in <code>conflicts.jsonl</code></p>\n"


def _conflict(each: Judged, *, unfolded: bool) -> Iterator[str]:
    yield f"<details{' open' if unfolded else ''}><summary><b>{_e(_cut(each.label))}</b>"
    yield f" {_e(each.reason)}: {_e(each.message)}"
    if each.because_of:
        yield f" <i>because of {_e(', '.join(each.because_of))}</i>"
    yield '</summary>\n<div class="scroll"><table><thead><tr><th>column</th><th>base</th><th>old</th><th>new</th>'
    yield "</tr></thead><tbody>\n"
    rows = (each.base_row, each.change.old, each.new_row)
    for place, column in enumerate(each.table.columns):
        values = [None if row is None else row[place] for row in rows]
        differs = len({value for value, row in zip(values, rows, strict=True) if row is not None}) > 1
        yield f"<tr{' class=differs' if differs else ''}><td>{_e(column.name)}</td>"
        yield "".join(_value(value, absent=row is None) for value, row in zip(values, rows, strict=True))
        yield "</tr>\n"
    yield "</tbody></table></div></details>\n"


def _value(value: Cell, *, absent: bool) -> str:
    if absent:
        return '<td class="null">no row</td>'
    if value is None:
        return '<td class="null">NULL</td>'
    return f'<td class="v">{_e(_cut(show(value)))}</td>'


def _cut(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:_LONG]}... ({len(text)} characters)"


def _listing(title: str, note: str, found: list[Judged], details: str) -> Iterator[str]:
    if not found:
        return
    yield f"<h2>{title} ({len(found)})</h2>\n<p>{note}</p>\n"
    rows = (
        [
            _e(each.table.name),
            _e(_cut(", ".join(text_key(each.table, each.change.key)))),
            _e(", ".join(each.columns)),
            _e("; ".join(each.rules)),
            _e(each.message),
        ]
        for each in found[:SHOWN]
    )
    yield from _table(["table", "key", "columns", details, "why"], rows)
    yield from _more(found)


def _more(found: list[Judged]) -> Iterator[str]:
    if len(found) > SHOWN:
        yield f"<p>and {len(found) - SHOWN} more in <code>accounted.jsonl</code></p>\n"


def _merged(result: MergeResult) -> Iterator[str]:
    found = [each for each in result.judged if each.decision is Decision.MERGED]
    if not found:
        return
    yield f"<h2>Merged by column ({len(found)})</h2>\n"
    yield "<p>Both sides changed the row, in different columns or by a rule.</p>\n"
    rows = (
        [
            _e(each.table.name),
            _e(_cut(", ".join(text_key(each.table, each.change.key)))),
            _e(", ".join(_taken(each, each.pre, each.post))),
            _e(", ".join(_taken(each, each.change.base, each.pre))),
            _e("; ".join(each.rules) or "different columns"),
        ]
        for each in found[:SHOWN]
    )
    yield from _table(["table", "key", "from old", "from new", "by"], rows)
    yield from _more(found)


def _taken(each: Judged, before: Cells | None, after: Cells | None) -> Iterator[str]:
    """Yield the columns in which a row differs from what it was."""
    for column, place in each.table.places.items():
        if after is not None and before is not None and before[place] != after[place]:
            yield column


def _dropped(result: MergeResult) -> Iterator[str]:
    found = [each for each in result.judged if each.decision is Decision.SKIPPED]
    yield from _listing("Old's values given up", "By a rule or a decision, by name.", found, "by")


def _overwritten(result: MergeResult) -> Iterator[str]:
    found = [each for each in result.judged if each.outcome == "overwritten"]
    yield from _listing('<span class="bad">New\'s changes overwritten</span>', "By a rule or a decision.", found, "by")


def _ids(result: MergeResult) -> Iterator[str]:
    found = list(result.mapped())
    if not found:
        return
    yield f"<h2>Ids that change ({len(found)})</h2>\n<p>New ids are drawn by the apply: <code>id_map.csv</code>.</p>\n"
    rows = (
        [
            _e(table),
            _e(old),
            "drawn by the apply" if isinstance(new, NewId) else _e(new),
            result.identities.how(table, old).replace("_", " "),
        ]
        for table, old, new in found[:SHOWN]
    )
    yield from _table(["table", "old id", "new id", "why"], rows)


def _effects(result: MergeResult) -> Iterator[str]:
    lines = [
        f"{each.label}: {effect}"
        for each in result.judged
        if each.decision is not Decision.CONFLICT
        for effect in each.effects
    ]
    yield from _list("Effects, outside the sums", lines)


def _owners(summary: Summary) -> Iterator[str]:
    if not summary.owners:
        return
    yield "<h2>Affected</h2>\n<p>By the declared owner columns; the whole list is in <code>affected.csv</code>.</p>\n"
    rows = (
        [f"{_e(each.table)}.{_e(each.column)}", str(len(each.changes)), str(len(each.conflicts))]
        for each in summary.owners
    )
    yield from _table(["owner", "affected", "with conflicts"], rows, 2)


def _list(title: str, lines: Iterable[str]) -> Iterator[str]:
    lines = list(lines)
    if not lines:
        return
    yield f"<h2>{_e(title)} ({len(lines)})</h2>\n<ul>\n"
    for line in lines[:SHOWN]:
        yield f"<li>{_e(_cut(line))}</li>\n"
    yield "</ul>\n"
    if len(lines) > SHOWN:
        yield f"<p>and {len(lines) - SHOWN} more</p>\n"
