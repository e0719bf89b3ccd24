"""``cutover init``: a plan of a few lines, with what only a person can know marked."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cutover.commands.session import Session, split_values
from cutover.errors import CutoverError
from cutover.evidence import Evidence
from cutover.observations.base import ProbeFailed
from cutover.observations.dns import AuthorityAnswers, NameSeen, Record, ZoneSeen
from cutover.output import to_json
from cutover.plan import Plan
from cutover.planfile import plan_schema, plan_tables
from cutover.probes.fingerprint import Suggestion
from cutover.verdict import Exit

TODO = "# TODO: only you know"


def run(
    session: Session, name: str | None, old: Sequence[str] | None, new: Sequence[str] | None, *, schema: bool
) -> int:
    """Look the name up and write the plan; a file that has no [[name]] yet keeps its settings and gets one.

    Raises:
        CutoverError: there is a plan with names already, or the name cannot be found.
    """
    if schema:
        session.output.text(
            json.dumps(plan_schema(), indent=2) if not session.output.as_json else to_json(plan_schema())
        )
        return Exit.OK
    if name is None:
        raise CutoverError("init needs the host name that moves", "cutover init app.example.com")
    before = _existing(session.plan_path)
    if not session.plan_path.exists():
        session = replace(session, plan_given=False)  # it is what will be written
    plan = session.plan_for(name, split_values(old), split_values(new))
    text, evidence, suggestions = asyncio.run(_drafted(session, plan))
    lines = _plan_lines(plan, evidence, suggestions)
    _write(session.plan_path, before + "\n".join(lines) + "\n", new=not before)
    host = plan.names[0].rstrip(".")
    open_points = sum(TODO in line for line in lines)
    form: dict[str, object] = {
        "command": "init",
        "plan": str(session.plan_path),
        "name": host,
        "zone": _apex(evidence, plan.names[0]),
        "provider": _provider(evidence, plan.names[0]),
        "hops": text,
        "exit_code": 0,
    }
    session.output.result(
        form,
        "\n".join(
            [
                f"{host}: {' -> '.join(text)}" if text else f"{host}: nothing is served yet",
                f"wrote {session.plan_path}: {len(lines)} lines, {open_points} for you to fill in",
                "Next: cutover preflight",
            ]
        ),
    )
    return Exit.OK


async def _drafted(session: Session, plan: Plan) -> tuple[list[str], Evidence, dict[str, Suggestion]]:
    from cutover.probes.origin import Asking, suggest_for
    from cutover.probes.world import World

    name = plan.names[0]
    evidence = Evidence(plan)
    evidence.begin(session.clock.now())
    async with World(plan, session.clock, session.base_dir, say=session.output.progress) as world:
        for observation in await world.ask_authorities(evidence):
            evidence.add(observation)
        evidence.settle()
        for observation in world.sides_found(evidence):
            evidence.add(observation)
        failure = evidence.failure("dns.authorities") or _unfound(evidence, name)
        if failure:
            reason = failure.error if isinstance(failure, ProbeFailed) else failure
            raise CutoverError(f"{name.rstrip('.')}: {reason}", "check the name, or give [dns] authorities in the plan")
        addresses = {(name, side): evidence.sides.addresses(name, side) for side in ("old", "new")}
        asking = Asking(plan, session.clock, session.base_dir)
        old, new = await suggest_for(asking, name, addresses)
    session.output.progress("")
    suggestions = {side: found for side, found in (("old", old), ("new", new)) if found is not None}
    return _hops(evidence, name), evidence, suggestions


def _existing(path: Path) -> str:
    """Return the text of a plan that has settings but no names, "" when there is no file."""
    if not path.exists():
        return ""
    if plan_tables(path).name:
        raise CutoverError(f"{path}: already has names", "name another file with --plan, or edit this one")
    text = path.read_text(encoding="utf-8")
    return text if text.endswith("\n") else text + "\n"


def _write(path: Path, text: str, *, new: bool) -> None:
    try:
        with path.open("x" if new else "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CutoverError(
            f"{path}: cannot be written: {os.strerror(error.errno or 0)}", "check the folder's rights"
        ) from None


def _plan_lines(plan: Plan, evidence: Evidence, suggestions: dict[str, Suggestion]) -> list[str]:
    entry = plan.name[0]
    host = entry.name.rstrip(".")
    old = [member.text for member in evidence.sides.of(entry.name).old]
    new = [member.text for member in entry.new]
    provider = _provider(evidence, entry.name)
    zone = _apex(evidence, entry.name)
    lines = ["[[name]]"]
    if not plan.migration.model_fields_set:
        lines = ["[migration]", f"name = {_text(host.replace('.', '-'))}", "", *lines]
    lines.append(f"name = {_text(host)}   # zone {zone}, provider {provider}, {_longest_ttl(evidence, entry.name)}")
    lines.append(f"old = {_list(old)}" if old else f'# old = ["203.0.113.10"]   {TODO}')
    lines.append(f"new = {_list(new)}" if new else f'# new = ["198.51.100.20"]   {TODO}')
    for side in ("old", "new"):
        lines += _origin_lines(plan, side, suggestions.get(side))
    missing = [name for name, given in (("[[traffic]]", plan.traffic), ("[database]", plan.database)) if not given]
    if missing:
        lines.append(f"# {' and '.join(missing)}: who counts requests and writes?   {TODO}")
    return lines


def _origin_lines(plan: Plan, side: str, found: Suggestion | None) -> list[str]:
    """Suggest how to tell a side; one that the file describes is completed at the name: TOML has no table twice."""
    given = getattr(plan.origin, side)
    if given.fingerprint is not None:
        return []
    if found is not None:
        line = f"fingerprint = {{ header = {_text(found.header)}, matches = {_text(found.matches)} }}"
    else:
        line = f'# fingerprint = {{ header = "x-release", matches = "^{side}-" }}   {TODO}'
    return [f"[name.origin.{side}]" if given.model_fields_set else f"[origin.{side}]", line]


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _list(values: Sequence[str]) -> str:
    return json.dumps(list(values))


def _unfound(evidence: Evidence, name: str) -> str:
    seen = evidence.current(NameSeen, name)
    return seen.error if seen is not None and seen.error and not _records(evidence, name) else ""


def _records(evidence: Evidence, name: str) -> list[Record]:
    found = [
        record
        for seen in sorted(evidence.all_current(AuthorityAnswers, name), key=lambda x: x.hop)
        for answer in seen.answers[:1]
        for record in answer.reply.answer
    ]
    return list(dict.fromkeys(found))


def _hops(evidence: Evidence, name: str) -> list[str]:
    return [
        f"{x.rtype} {x.data.rstrip('.')} (TTL {x.ttl} s)"
        for x in _records(evidence, name)
        if x.rtype in {"A", "AAAA", "CNAME"}
    ]


def _longest_ttl(evidence: Evidence, name: str) -> str:
    ttls = [record.ttl for record in _records(evidence, name) if record.owner == name]
    return f"TTL {max(ttls)} s" if ttls else "no records yet"


def _apex(evidence: Evidence, name: str) -> str:
    seen = evidence.current(NameSeen, name)
    return seen.apex.rstrip(".") if seen is not None else "?"


def _provider(evidence: Evidence, name: str) -> str:
    zone = evidence.current(ZoneSeen, f"{_apex(evidence, name)}.")
    servers = [record.data for record in (zone.parent_ns or zone.child_ns)] if zone is not None else []
    if any("awsdns" in server for server in servers):
        return "route53"
    if any(server.endswith(".ns.cloudflare.com.") for server in servers):
        return "cloudflare (not supported yet)"
    return "none that is known"
