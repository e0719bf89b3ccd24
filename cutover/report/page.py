"""The status page and the report as one self-contained HTML page: no script, no network, readable on a phone. Pure.

Everything that comes from outside (names, answers, messages, reasons) is escaped; the page carries a content
security policy that would keep even a slip from running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape

from cutover.check import Finding, Severity, Status
from cutover.durations import iso, say_duration, say_instant
from cutover.folds.story import Story
from cutover.observations.gate import Judged
from cutover.report.chart import Curve, line_chart
from cutover.report.finding_text import MARKS, clean
from cutover.report.verdict_text import ALARM, next_command
from cutover.verdict import Verdict, blockers, is_split_brain

_SENTENCE = {
    Verdict.READY: "Everything that must hold before the change was seen to hold.",
    Verdict.BLOCKED: "Do not change anything yet: {count} thing(s) must be fixed first.",
    Verdict.CONVERGED: "The world has moved: every closing condition held for the whole soak.",
    Verdict.CONVERGING: "Not done: part of the world still uses the old side, or the soak is not complete.",
    Verdict.INCONCLUSIVE: "Not known: {blind} thing(s) that the verdict needs could not be seen.",
    Verdict.SPLIT_BRAIN: "Both databases took writes. Stop, fence the old side, then reconcile.",
}
_TONE = {
    Verdict.READY: "good",
    Verdict.CONVERGED: "good",
    Verdict.BLOCKED: "bad",
    Verdict.CONVERGING: "wait",
    Verdict.INCONCLUSIVE: "wait",
    Verdict.SPLIT_BRAIN: "bad",
}
_STATUS_WORD = {
    Status.FAIL: "fails",
    Status.INCONCLUSIVE: "not seen",
    Status.WARN: "look",
    Status.PASS: "holds",
    Status.SKIP: "not in the plan",
}
_ORDER = [Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.PASS, Status.SKIP]
_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """
:root{color-scheme:light dark;--fg:#1a1a1a;--bg:#fff;--soft:#595959;--line:#d0d0d0;--good:#0b6b2e;--bad:#b00020;
--wait:#7a4d00;--c1:#0b57a4;--c2:#a3410a;--card:#f5f5f5}
@media (prefers-color-scheme:dark){:root{--fg:#ececec;--bg:#161616;--soft:#b3b3b3;--line:#444;--good:#6fd58f;
--bad:#ff8f8f;--wait:#f0b95b;--c1:#7db8f5;--c2:#f0a070;--card:#222}}
*{box-sizing:border-box}body{margin:0 auto;max-width:62rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;
color:var(--fg);background:var(--bg)}h1{font-size:1.1rem;margin:0;color:var(--soft);font-weight:600}
h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}
.verdict{font-size:2.2rem;font-weight:700;margin:.2rem 0}.good{color:var(--good)}.bad{color:var(--bad)}
.wait{color:var(--wait)}.soft{color:var(--soft)}ul{padding-left:1.2rem}li{margin:.25rem 0;overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}th{color:var(--soft);font-weight:600}
code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}
pre{background:var(--card);padding:.6rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}
figure{margin:1rem 0}figcaption{font-size:.92rem}svg{width:100%;height:auto;background:var(--card)}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}svg .grid{stroke:var(--line)}
svg polyline{fill:none;stroke-width:2}svg .c1{stroke:var(--c1)}svg .c2{stroke:var(--c2);stroke-dasharray:5 3}
span.c1{color:var(--c1)}span.c2{color:var(--c2)}details summary{cursor:pointer}
@media print{:root{--fg:#000;--bg:#fff;--soft:#333;--line:#999;--card:#fff}details>*{display:block}}
"""


def status_page(
    judged: Judged, story: Story, now: datetime, *, refresh: float | None, eta: datetime | None = None
) -> str:
    """Write the page of one round.

    Args:
        judged: the round.
        story: the whole ledger's decisions, this round included.
        now: the present instant, for distances.
        refresh: seconds after which a browser shall read the page again; None for a report.
        eta: when the gate may open at the earliest.
    """
    verdict = Verdict(judged.verdict)
    names = ", ".join(name.rstrip(".") for name in judged.names)
    parts = [
        _head(judged, refresh),
        f"<h1>{escape(judged.migration)}: {escape(names)}</h1>",
        f'<p class="verdict {_TONE[verdict]}">{escape(verdict.value.upper())}</p>',
        f"<p>{escape(_sentence(judged))}</p>",
        f'<p class="soft">As of {escape(say_instant(judged.at, now))}, '
        f"by <code>cutover {escape(judged.command)}</code>, exit code {judged.exit_code}.</p>",
        _alarm(judged),
        _times(judged, now, eta),
        _missing(judged, now),
        _curves(story),
        _resolvers(judged),
        _rooms(judged),
        _soaks(judged),
        _timeline(story),
        _decisions(story),
        f'<p class="soft">Next: <code>{escape(next_command(judged))}</code></p>',
        f'<p class="soft">Plan hash <code>{escape(judged.plan_hash[:16])}</code>. Times are UTC.</p>',
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _head(judged: Judged, refresh: float | None) -> str:
    reload = f'<meta http-equiv="refresh" content="{max(1, round(refresh))}">' if refresh is not None else ""
    title = escape(f"{judged.verdict}: {judged.migration}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{reload}'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body>"
    )


def _sentence(judged: Judged) -> str:
    count = len(blockers(judged.findings, Status.FAIL))
    blind = len(blockers(judged.findings, Status.INCONCLUSIVE))
    return _SENTENCE[Verdict(judged.verdict)].format(count=count, blind=blind)


def _alarm(judged: Judged) -> str:
    if not is_split_brain(judged.findings):
        return ""
    return f'<p class="bad"><strong>Run now, in this order:</strong></p><pre>{escape(chr(10).join(ALARM))}</pre>'


def _times(judged: Judged, now: datetime, eta: datetime | None) -> str:
    lines = []
    if judged.safe_to_change_at is not None:
        lines.append(f"safe to change: <strong>{escape(say_instant(judged.safe_to_change_at, now))}</strong>")
    if judged.not_before is not None:
        lines.append(f"caches may hold old until: <strong>{escape(say_instant(judged.not_before, now))}</strong>")
    elif judged.phase == "watch":
        lines.append("until when caches may hold old is <strong>not known</strong>")
    if eta is not None:
        lines.append(f"done at the earliest: <strong>{escape(say_instant(eta, now))}</strong>")
    return _list(lines)


def _missing(judged: Judged, now: datetime) -> str:
    found = [*blockers(judged.findings, Status.FAIL), *blockers(judged.findings, Status.INCONCLUSIVE)]
    lines = []
    for finding in found:
        until = f" → {escape(say_instant(finding.until, now))}" if finding.until else ""
        fix = f"<pre>{escape(clean(finding.fix))}</pre>" if finding.fix else ""
        tone = "bad" if finding.status is Status.FAIL else "wait"
        lines.append(
            f'<span class="{tone}">{MARKS[finding.status]} {_STATUS_WORD[finding.status]}</span> '
            f"<strong>{_said(finding.subject)}</strong>: {_said(finding.message)}{until} "
            f'<span class="soft">[{escape(finding.check)}]</span>{fix}'
        )
    body = _list(lines) or '<p class="good">Nothing but time.</p>'
    return f"<h2>What is missing</h2>{body}"


def _curves(story: Story) -> str:
    curves = [
        Curve("resolver answers on old", "c1", [(x.at, x.old_resolvers) for x in story.points]),
        Curve("requests on old", "c2", [(x.at, x.old_share) for x in story.points]),
    ]
    drawn = [x for x in curves if any(value is not None for _, value in x.points)]
    return line_chart("Share of old over time", drawn) if drawn else ""


def _resolvers(judged: Judged) -> str:
    given = judged.summary.get("resolvers")
    rows = [row for row in given if isinstance(row, Mapping)] if isinstance(given, list) else []
    if not rows:
        return ""
    counts = Counter(str(row["class"]) for row in rows)
    told = ", ".join(f"{count} {escape(kind)}" for kind, count in counts.most_common())
    ordered = sorted(rows, key=lambda row: (row["class"] == "new", str(row.get("country")), str(row["resolver"])))
    body = _table(
        ("country", "resolver", "operator", "name", "answer", "TTL left"),
        (
            (
                str(row.get("country") or "-"),
                str(row["resolver"]),
                str(row["operator"]),
                f"{row['name']} {row['type']}",
                str(row["class"])
                + (", was old" if row.get("last_old") and row["class"] not in {"old", "mixed"} else ""),
                f"{row['remaining_ttl']} s" if row.get("remaining_ttl") is not None else "-",
            )
            for row in ordered
        ),
    )
    shown = " open" if len(rows) <= 40 else ""
    return f"<h2>Resolvers</h2><p>{told}</p><details{shown}><summary>all</summary>{body}</details>"


def _rooms(judged: Judged) -> str:
    titles = {"origin": "Origins", "edge": "Edge", "traffic": "Traffic", "database": "Databases", "dns": "DNS"}
    parts = []
    for room, title in titles.items():
        found = [x for x in judged.findings if x.check.split(".")[0] == room]
        if found:
            parts.append(f"<h2>{title}</h2>{_findings(found)}")
    return "".join(parts)


def _findings(findings: Sequence[Finding]) -> str:
    ordered = sorted(findings, key=lambda x: _ORDER.index(x.status))
    rows = ((_standing(x), x.check, x.subject, x.message) for x in ordered)
    return _table(("", "check", "about", "seen"), rows)


def _standing(finding: Finding) -> str:
    weight = "" if finding.severity is Severity.BLOCKER else f" ({finding.severity.value})"
    return f"{MARKS[finding.status]} {_STATUS_WORD[finding.status]}{weight}"


def _soaks(judged: Judged) -> str:
    lines = [f"{_said(name.rstrip('.'))}: {say_duration(held)}" for name, held in judged.soaked.items()]
    return f"<h2>Soak</h2>{_list(lines)}" if lines else ""


def _timeline(story: Story) -> str:
    rows = ((f"{x.at:%Y-%m-%d %H:%M:%S}", x.command, x.verdict, _because(x)) for x in story.turns[-100:])
    return f"<h2>Timeline</h2><p>{story.rounds} rounds.</p>{_table(('UTC', 'command', 'verdict', 'because of'), rows)}"


def _because(judged: Judged) -> str:
    found = [*blockers(judged.findings, Status.FAIL), *blockers(judged.findings, Status.INCONCLUSIVE)]
    return ", ".join(list(dict.fromkeys(x.check for x in found))[:4])


def _decisions(story: Story) -> str:
    lines = [
        f'<strong class="bad">Overridden</strong> {escape(iso(x.at))} by {_said(x.who)}: '
        f"{escape(', '.join(x.checks))}: {_said(x.reason)} (verdict then: {escape(x.verdict)})"
        for x in story.overrides
    ]
    lines += [
        f"<strong>Signed off</strong> {escape(iso(x.at))} by {_said(x.who)}: "
        f"{_said(', '.join(name.rstrip('.') for name in x.names))}. {_said(x.bound)}. "
        f"Ledger head <code>{escape(x.ledger_head)}</code>. Gate values that are not the default: "
        f"{_said(', '.join(f'{key} = {value}' for key, value in x.gate_changes.items()) or 'none')}"
        for x in story.sign_offs
    ]
    return f"<h2>Decisions</h2>{_list(lines)}" if lines else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(x)}</th>' for x in heads)
    body = "".join("<tr>" + "".join(f"<td>{_said(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>" if lines else ""


def _said(text: str) -> str:
    return escape(clean(text))
