"""The last round as a Prometheus text file (exposition format 0.0.4), for node_exporter's textfile collector. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from cutover.folds.story import old_share
from cutover.observations.gate import Judged
from cutover.verdict import Verdict

_HELP = {
    "cutover_verdict": "1 for the verdict of the last round, 0 for the others.",
    "cutover_exit_code": "Exit code of the last round's verdict.",
    "cutover_round_timestamp_seconds": "When the last round was judged.",
    "cutover_not_before_timestamp_seconds": "Until when caches may hold an old answer; absent while unknown.",
    "cutover_findings": "Findings of the last round by check and status.",
    "cutover_resolver_answers": "Resolver answers of the last round by name, type and class.",
    "cutover_soak_seconds": "How long each name has held.",
    "cutover_old_share": "Share of requests that reached old; absent while no source tells.",
}


def metrics_text(judged: Judged) -> str:
    """Write one round's metrics; a value that is not known is absent, never 0.

    Every series carries the migration: one collector may read the files of several, and no series may come twice.
    """
    lines: list[str] = []
    before = ""
    for name, labels, value in _samples(judged):
        if name != before:
            lines += [f"# HELP {name} {_HELP[name]}", f"# TYPE {name} gauge"]
            before = name
        inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{inside}}} {value!r}")
    return "\n".join(lines) + "\n"


def _samples(judged: Judged) -> Iterator[tuple[str, Mapping[str, str], float]]:
    migration = {"migration": judged.migration}
    for verdict in Verdict:
        yield "cutover_verdict", {**migration, "verdict": verdict.value}, float(judged.verdict == verdict.value)
    yield "cutover_exit_code", migration, judged.exit_code
    yield "cutover_round_timestamp_seconds", migration, judged.at.timestamp()
    if judged.not_before is not None:
        yield "cutover_not_before_timestamp_seconds", migration, judged.not_before.timestamp()
    found = Counter((x.check, x.status.value, x.severity.value) for x in judged.findings)
    for (check, status, severity), count in sorted(found.items()):
        yield "cutover_findings", {**migration, "check": check, "status": status, "severity": severity}, count
    rows = judged.summary.get("resolvers")
    answers = Counter(
        (str(row["name"]), str(row["type"]), str(row["class"]))
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping)
    )
    for (name, rtype, kind), count in sorted(answers.items()):
        yield "cutover_resolver_answers", {**migration, "name": name, "type": rtype, "class": kind}, count
    for name, held in judged.soaked.items():
        yield "cutover_soak_seconds", {**migration, "name": name.rstrip(".")}, held
    share = old_share(judged)
    if share is not None:
        yield "cutover_old_share", migration, share


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
