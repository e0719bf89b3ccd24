"""The status page and the report as one self-contained HTML page: no script, no network, readable on a phone. Pure.

Everything that comes from outside (names, answers, messages, reasons) is escaped; the page carries a content
security policy that would keep even a slip from running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from html import escape

from cutover.durations import iso, say_duration, say_instant
from cutover.finding import Finding, Severity, Status
from cutover.folds.story import Story, old_share
from cutover.observations.gate import Judged, Overridden, SignedOff
from cutover.report.chart import Curve, line_chart, share_text
from cutover.report.finding_text import MARKS, clean, shown
from cutover.report.style import style_sheet
from cutover.report.verdict_text import ROLL_BACK, alarm_commands, next_command
from cutover.verdict import Verdict, blockers, is_split_brain

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
_STATUS_TONE = {Status.FAIL: "bad", Status.INCONCLUSIVE: "wait", Status.WARN: "wait", Status.PASS: "good"}
_ORDER = [Status.FAIL, Status.INCONCLUSIVE, Status.WARN, Status.PASS, Status.SKIP]
_ROOMS = {"origin": "Origins", "edge": "Edge", "traffic": "Traffic", "database": "Databases", "dns": "DNS"}
_ANSWERS = ("new", "old", "mixed")
_CSP = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_SHOWN_ROWS = 40
_MOST_ROWS = 2000
_SHOWN_EVENTS = 200

Row = Mapping[str, object]


def status_page(
    judged: Judged,
    story: Story,
    now: datetime,
    *,
    refresh: float | None,
    eta: datetime | None = None,
    soak: timedelta | None = None,
    ledger_head: str = "",
    replayed: str | None = None,
) -> str:
    """Write the page of one round.

    Args:
        judged: the round.
        story: the whole ledger's decisions, this round included.
        now: the present instant, for distances.
        refresh: seconds after which a browser shall read the page again; None for a report.
        eta: when the gate may open at the earliest.
        soak: ``gate.soak``, None when the plan is not at hand.
        ledger_head: hash of the ledger's last entry, "" to leave it out.
        replayed: the verdict that the ledger gives when it is judged anew, None when that was not done.
    """
    rows = _resolver_rows(judged)
    live = refresh is not None
    parts = [
        _head(judged, refresh),
        _banner(judged, now),
        _alarm(judged),
        _facts(judged, rows, now, eta, soak),
        _missing(judged, now),
        _decisions(story),
        _curves(story),
        _resolvers(rows),
        _rooms(judged),
        _timeline(story, newest_first=live),
        _footer(judged, ledger_head, replayed),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def _head(judged: Judged, refresh: float | None) -> str:
    reload = f'<meta http-equiv="refresh" content="{max(1, round(refresh))}">' if refresh is not None else ""
    title = _said(f"{judged.verdict.upper()}: {judged.migration}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{reload}'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}"><meta name="robots" content="noindex">'
        f'<meta name="referrer" content="no-referrer"><style>{style_sheet()}</style></head><body>'
    )


def _banner(judged: Judged, now: datetime) -> str:
    verdict = Verdict(judged.verdict)
    names = [name.rstrip(".") for name in judged.names]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    roll_back = f" · {ROLL_BACK}" if judged.reverse else ""
    return (
        f'<header class="{_TONE[verdict]}"><p class="of">{_said(judged.migration)} · {_said(shown)}{roll_back}</p>'
        f"<h1>{_said(verdict.value.upper())}</h1>"
        f'<p class="lead">{_said(sentence(judged))}</p>'
        f'<p class="as">As of {_instant(judged.at, now)}, by <code>cutover {_said(judged.command)}</code>, '
        f"exit code {judged.exit_code}. Next: <code>{_said(next_command(judged))}</code></p></header>"
    )


def sentence(judged: Judged) -> str:
    """Say the verdict in one sentence."""
    failing = _count(len(blockers(judged.findings, Status.FAIL)), "thing")
    blind = len(blockers(judged.findings, Status.INCONCLUSIVE))
    match Verdict(judged.verdict):
        case Verdict.READY:
            return "Everything that must hold before the change was seen to hold."
        case Verdict.BLOCKED:
            return f"Do not change anything yet: {failing} must be mended first."
        case Verdict.CONVERGED:
            return "The world has moved: every closing condition held for the whole soak."
        case Verdict.CONVERGING if blockers(judged.findings, Status.FAIL):
            return "Not done: part of the world may still use the old side."
        case Verdict.CONVERGING:
            return "Not done: nothing is wrong, but it has not held for long enough yet."
        case Verdict.INCONCLUSIVE if not blind:
            return "Not known: nothing that the verdict rests on was looked at."
        case Verdict.INCONCLUSIVE:
            return f"Not known: {_count(blind, 'thing')} that the verdict needs could not be seen."
        case Verdict.SPLIT_BRAIN:
            return "Both databases took writes. Stop; make the old side refuse writes; then merge."


def _alarm(judged: Judged) -> str:
    if not is_split_brain(judged.findings):
        return ""
    return f'<h2 class="bad">Run now, in this order</h2><pre>{_said(chr(10).join(alarm_commands(judged)))}</pre>'


def _facts(judged: Judged, rows: Sequence[Row], now: datetime, eta: datetime | None, soak: timedelta | None) -> str:
    facts: list[tuple[str, str, str]] = []
    if judged.phase == "preflight":
        ready = judged.verdict == Verdict.READY.value
        term = "Safe to change" if ready else "Safe to change, at the earliest"
        facts.append(_countdown(term, judged.safe_to_change_at, now, over="now" if ready else "not yet"))
    else:
        facts.append(_countdown("No cache may hold old any more", judged.not_before, now, over="now"))
        share = old_share(judged)
        told = share_text(share) if share is not None else "not known"
        facts.append(("Requests on old", told, _said(_requests(judged))))
        facts.append(("Resolver answers on old", *_resolver_fact(rows)))
        facts.append(("Held so far", *_soak_fact(judged, soak)))
        if eta is not None:
            facts.append(_countdown("Done at the earliest", eta, now, over="now"))
    cards = "".join(f"<div><dt>{term}</dt><dd>{value}<small>{note}</small></dd></div>" for term, value, note in facts)
    return f'<dl class="facts">{cards}</dl>'


def _countdown(term: str, at: datetime | None, now: datetime, *, over: str) -> tuple[str, str, str]:
    if at is None:
        return term, "not known", ""
    big = f"in {say_duration(at - now)}" if at > now else over
    return term, big, f'<time datetime="{iso(at)}">{escape(say_instant(at, now).split(" (")[0])}</time>'


def _requests(judged: Judged) -> str:
    for finding in judged.findings:
        if finding.check == "traffic.converged" and "share" in finding.measured:
            return finding.message
    return "no source told of both sides"


def _resolver_fact(rows: Sequence[Row]) -> tuple[str, str]:
    definite = [row for row in rows if row["class"] not in {"timeout", "malformed"}]
    if not definite:
        return "not known", "no resolver answered"
    old = sum(row["class"] in {"old", "mixed"} for row in definite)
    silent = len(rows) - len(definite)
    note = f"{share_text(old / len(definite))} of {_count(len(definite), 'answer')}"
    return f"{old} of {len(definite)}", note + (f"; {silent} silent" if silent else "")


def _soak_fact(judged: Judged, soak: timedelta | None) -> tuple[str, str]:
    if not judged.soaked:
        return "not begun", ""
    name, held = min(judged.soaked.items(), key=lambda each: each[1])
    whole = f" of {say_duration(soak)}" if soak is not None else ""
    done = min(held / soak.total_seconds(), 1.0) if soak else None
    bar = f'<span class="bar"><i style="width:{done:.0%}"></i></span>' if done is not None else ""
    note = "without a break"
    if len(judged.soaked) > 1:
        finished = sum(x >= soak.total_seconds() for x in judged.soaked.values()) if soak is not None else 0
        note = f"by {_said(name.rstrip('.'))}, the last of {len(judged.soaked)} names; {finished} have held it all"
    return f"{say_duration(held)}{whole}{bar}", note


def _missing(judged: Judged, now: datetime) -> str:
    found = [*blockers(judged.findings, Status.FAIL), *blockers(judged.findings, Status.INCONCLUSIVE)]
    lines = []
    for finding in found:
        until = f" → {_instant(finding.until, now)}" if finding.until and finding.until > now else ""
        fix = f"<pre>{_said(finding.fix)}</pre>" if finding.fix else ""
        word = _STATUS_WORD[finding.status].capitalize()
        lines.append(
            f'<li class="{_STATUS_TONE[finding.status]}">'
            f"<strong>{MARKS[finding.status]} {word}: {_said(finding.subject)}</strong>"
            f"<p>{_said(finding.message)}{until} "
            f'<span class="soft"><code>cutover explain {_said(finding.check)}</code></span></p>{fix}</li>'
        )
    nothing = "Nothing." if judged.exit_code == 0 else "Nothing but time."
    body = f'<ul class="missing">{"".join(lines)}</ul>' if lines else f'<p class="good">{nothing}</p>'
    return f"<h2>What is missing</h2>{body}"


def _curves(story: Story) -> str:
    curves = [
        Curve("resolver answers on old", "c1", [(x.at, x.old_resolvers) for x in story.points]),
        Curve("requests on old", "c2", [(x.at, x.old_share) for x in story.points]),
    ]
    drawn = [x for x in curves if any(value is not None for _, value in x.points)]
    if not drawn:
        return ""
    chart = line_chart("Share of old over time", drawn, [x.at for x in story.turns])
    return (
        f'<h2>Old, over time</h2>{chart}<p class="soft">An upright line: the verdict changed. '
        "A gap: nobody could tell.</p>"
    )


def _resolver_rows(judged: Judged) -> list[Row]:
    given = judged.summary.get("resolvers")
    return [row for row in given if isinstance(row, Mapping)] if isinstance(given, list) else []


def _resolvers(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    ordered = sorted(rows, key=lambda row: (str(row.get("country") or "~"), str(row["resolver"])))
    trouble = [row for row in ordered if row["class"] != "new"]
    parts = ["<h2>Resolvers</h2>"]
    if trouble:
        more = f" (the first {_SHOWN_ROWS})" if len(trouble) > _SHOWN_ROWS else ""
        parts.append(f"<h3>Not on new{more}</h3>{_answers_table(trouble[:_SHOWN_ROWS])}")
    parts.append(f"<h3>By country</h3>{_countries(ordered)}")
    more = f", of which {_MOST_ROWS} are shown: <code>cutover status --json</code>" if len(rows) > _MOST_ROWS else ""
    every = _answers_table(ordered[:_MOST_ROWS])
    parts.append(f"<details><summary>Every answer ({len(rows)}{more})</summary>{every}</details>")
    return "".join(parts)


def _countries(rows: Sequence[Row]) -> str:
    counted: dict[str, Counter[str]] = {}
    for row in rows:
        counted.setdefault(str(row.get("country") or "everywhere"), Counter())[str(row["class"])] += 1

    def cells() -> Iterator[Sequence[str]]:
        for country, counts in counted.items():
            other = sum(count for kind, count in counts.items() if kind not in _ANSWERS)
            yield country, *(str(counts[kind]) for kind in _ANSWERS), str(other), str(counts.total())

    return _table(("country", *_ANSWERS, "other or silent", "answers"), cells(), numbers=5)


def _answers_table(rows: Sequence[Row]) -> str:
    def cells() -> Iterator[Sequence[str]]:
        for row in rows:
            was_old = ", was old" if row.get("last_old") and row["class"] not in {"old", "mixed"} else ""
            left = row.get("remaining_ttl")
            yield (
                str(row.get("country") or "everywhere"),
                str(row["resolver"]),
                str(row["operator"]) if row["operator"] != row["resolver"] else "",
                f"{row['name']} {row['type']}",
                f"{row['class']}{was_old}",
                f"{left} s" if left is not None else "",
            )

    return _table(("country", "resolver", "operator", "name", "answer", "TTL left"), cells())


def _rooms(judged: Judged) -> str:
    parts = []
    for room, title in _ROOMS.items():
        found = [x for x in judged.findings if x.check.split(".")[0] == room]
        if found:
            parts.append(f"<h2>{title}</h2>{_findings(found)}")
    return "".join(parts)


def _findings(findings: Sequence[Finding]) -> str:
    ordered = sorted(findings, key=lambda x: _ORDER.index(x.status))
    rows = ((_standing(x), x.check, x.subject, x.message) for x in ordered)
    return _table(("stands", "check", "about", "seen"), rows, style="found", tones=[x.status for x in ordered])


def _standing(finding: Finding) -> str:
    weight = "" if finding.severity is Severity.BLOCKER else f" ({finding.severity.value})"
    return f"{MARKS[shown(finding)]} {_STATUS_WORD[finding.status]}{weight}"


def _timeline(story: Story, *, newest_first: bool) -> str:
    events = [(x.at, f"cutover {x.command}", x.verdict, _because(x)) for x in story.turns]
    events += [(x.at, "overridden", x.verdict, f"{', '.join(x.checks)}: {x.reason}") for x in story.overrides]
    events += [(x.at, "signed off", "", _names(x)) for x in story.sign_offs]
    events.sort(key=lambda event: event[0], reverse=newest_first)
    left_out = len(events) - _SHOWN_EVENTS
    shown = events[:_SHOWN_EVENTS] if newest_first else events[-_SHOWN_EVENTS:]
    rows = ((f"{at:%Y-%m-%d %H:%M:%S}", *words) for at, *words in shown)
    more = f", {left_out} older events are left out" if left_out > 0 else ""
    return (
        f"<h2>Timeline</h2><p>{_count(story.rounds, 'round')}{more}.</p>"
        f"{_table(('UTC', 'event', 'verdict', 'because of'), rows, style='time')}"
    )


def _because(judged: Judged) -> str:
    found = [*blockers(judged.findings, Status.FAIL), *blockers(judged.findings, Status.INCONCLUSIVE)]
    ids = list(dict.fromkeys(x.check for x in found))
    return ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")


def _decisions(story: Story) -> str:
    parts = [_override(x) for x in story.overrides] + [_sign_off(x) for x in story.sign_offs]
    return f"<h2>Decisions</h2>{''.join(parts)}" if parts else ""


def _override(entry: Overridden) -> str:
    facts = {
        "Names": _names(entry) or "not told",
        "Checks": ", ".join(entry.checks),
        "Reason": entry.reason,
        "Verdict then, and still": entry.verdict,
        "Ledger head": entry.ledger_head,
        "Plan": entry.plan_hash,
    }
    return f'<h3 class="bad">Overridden by {_said(entry.who)}, {iso(entry.at)}</h3>{_pairs(facts)}'


def _sign_off(entry: SignedOff) -> str:
    gate = ", ".join(f"{key} = {value}" for key, value in entry.gate_changes.items())
    facts = {
        "Names": _names(entry),
        "Not seen": entry.bound.removeprefix("Not seen: "),
        "Gate values that are not the default": gate or "none",
        "Ledger head": entry.ledger_head,
        "Plan": entry.plan_hash,
    }
    return f'<h3 class="good">Signed off by {_said(entry.who)}, {iso(entry.at)}</h3>{_pairs(facts)}'


def _names(entry: SignedOff | Overridden) -> str:
    return ", ".join(name.rstrip(".") for name in entry.names)


def _footer(judged: Judged, ledger_head: str, replayed: str | None) -> str:
    lines = [f"Plan <code>{_said(judged.plan_hash)}</code>"]
    if ledger_head:
        lines.append(f"Ledger head <code>{_said(ledger_head)}</code>")
    if replayed is not None:
        same = "the same" if replayed == judged.verdict else "THIS DIFFERS"
        lines.append(f"Judged anew from the ledger: {_said(replayed)} ({same})")
    lines.append("Times are UTC. This page needs no network and runs no script.")
    return f"<footer>{'<br>'.join(lines)}</footer>"


def _pairs(facts: Mapping[str, str]) -> str:
    return _table(("of", "is"), facts.items(), headless=True)


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: int = 0,
    style: str = "",
    tones: Sequence[Status] = (),
    headless: bool = False,
) -> str:
    """Write a table; on a phone each row becomes a block whose lines are labelled by the heads.

    Args:
        heads: of the columns.
        rows: of cells, as text.
        numbers: that many last columns hold numbers.
        style: a CSS class.
        tones: the status of each row: colours its first cell.
        headless: the first cell of each row is its head.
    """
    classes = [' class="n"' if place >= len(heads) - numbers else "" for place in range(len(heads))]
    top = "".join(f'<th scope="col"{style}>{escape(x)}</th>' for x, style in zip(heads, classes, strict=True))
    body = []
    for number, row in enumerate(rows):
        tone = f' class="{_STATUS_TONE.get(tones[number], "soft")}"' if tones else ""
        cells = [
            f'<td data-of="{escape(head)}"{tone if place == 0 else style}>{_said(cell)}</td>'
            for place, (head, style, cell) in enumerate(zip(heads, classes, row, strict=True))
        ]
        if headless:
            cells = [f'<th scope="row">{_said(row[0])}</th>', f"<td>{_said(row[1])}</td>"]
        body.append(f"<tr>{''.join(cells)}</tr>")
    style = style or ("count" if numbers else "")
    named = f' class="{style}"' if style else ""
    head = "" if headless else f"<thead><tr>{top}</tr></thead>"
    return f"<table{named}>{head}<tbody>{''.join(body)}</tbody></table>"


def _instant(at: datetime, now: datetime) -> str:
    return f'<time datetime="{iso(at)}">{escape(say_instant(at, now))}</time>'


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _said(text: str) -> str:
    return escape(clean(text))
