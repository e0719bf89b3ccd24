"""Rounds and ledgers' stories as values: what pages, frames and metrics are drawn from in these tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from cutover.finding import Finding, Severity, Status
from cutover.folds.story import Story, old_share
from cutover.observations.base import Observation
from cutover.observations.gate import Judged, Overridden, SignedOff
from cutover.verdict import Verdict

NOW = datetime(2025, 11, 12, 6, 55, tzinfo=UTC)
NAME = "app.example.com."
SOAK = timedelta(minutes=15)
HASH = "9f2c4e1b7a60d8835c1e0f4ab2d97c6650e3b1f8a4d27c9b6e5f108d3a7c4b21"
COUNTRIES = ("", "", "DE", "DE", "FR", "US", "US", "US", "JP", "BR", "IN", "ZA")
FIX = (
    "aws route53 change-resource-record-sets --hosted-zone-id Z0EXAMPLE --change-batch "
    '\'{"Changes":[{"Action":"UPSERT","ResourceRecordSet":{"Name":"app.example.com.","Type":"A","TTL":60,'
    '"ResourceRecords":[{"Value":"203.0.113.10"}]}}]}\''
)


def finding(check: str, status: Status, message: str, subject: str = "app.example.com A", **more: object) -> Finding:
    values = {"check": check, "status": status, "subject": subject, "message": message, **more}
    return Finding(**values)  # type: ignore[arg-type]


def row(number: int, kind: str, **more: object) -> dict[str, object]:
    value: dict[str, object] = {
        "resolver": f"resolver-{number}",
        "operator": f"operator-{number // 2}",
        "country": COUNTRIES[number % len(COUNTRIES)],
        "tier": "required",
        "name": "app.example.com",
        "type": "A",
        "class": kind,
        "remaining_ttl": 40 + number,
        "last_old": None,
    }
    return {**value, **more}


def rows(old: int, total: int = 24) -> list[dict[str, object]]:
    made = [row(number, "old" if number < old else "new") for number in range(total - 2)]
    return [
        *made,
        row(total - 2, "timeout", remaining_ttl=None),
        row(total - 1, "timeout", remaining_ttl=None, last_old=NOW - timedelta(minutes=20)),
    ]


def judged(verdict: Verdict, *findings: Finding, command: str = "watch", **more: object) -> Judged:
    values: dict[str, object] = {
        "at": NOW - timedelta(seconds=12),
        "command": command,
        "phase": "preflight" if command == "preflight" else "watch",
        "migration": "porter-to-sst",
        "began": NOW - timedelta(seconds=15),
        "plan_hash": HASH,
        "names": (NAME,),
        "verdict": verdict.value,
        "exit_code": int(verdict.exit_code),
        "findings": findings,
        "soaked": {} if command == "preflight" else {NAME: 0.0},
        "summary": {},
        **more,
    }
    return Judged(**values)  # type: ignore[arg-type]


def _traffic(share: float) -> Finding:
    status = Status.FAIL if share > 0.001 else Status.PASS
    requests = 40_000
    old = round(share * requests)
    said = f"{old} of {requests} requests on old in 15 min ({share:.3%}; limit 0.100%)"
    return finding("traffic.converged", status, said, "requests", measured={"share": share, "old": old, "bound": share})


def _rest() -> list[Finding]:
    return [
        finding("dns.zone-agreement", Status.PASS, "2 servers hold the same records and serial 2025111203"),
        finding("dns.authority-converged", Status.PASS, "4 of 4 servers give new"),
        finding("dns.change-insync", Status.SKIP, "no change id is known"),
        finding("dns.caa", Status.WARN, "no CAA record: any authority may issue", severity=Severity.WARNING),
        finding("origin.reachable", Status.PASS, "new answers with 200 in 48 ms", "app.example.com new"),
        finding("origin.tls", Status.PASS, "certificate for app.example.com, 62 d left", "app.example.com new"),
        finding("edge.maintenance-page", Status.PASS, "no page on 12 paths"),
        finding("traffic.visible", Status.PASS, "prometheus #1 saw 3 of 3 sentinels on old", "prometheus #1"),
        finding("database.old-quiet", Status.PASS, "no row written on old since 12 Nov 06:40 UTC", "old"),
        finding("database.fence", Status.WARN, "old is not fenced: nothing stops a write", "old"),
    ]


def converging(share: float = 0.082, old: int = 3, at: datetime = NOW - timedelta(seconds=12)) -> Judged:
    horizon = finding(
        "dns.horizon",
        Status.FAIL,
        "caches may hold old: A 203.0.113.10 was last served 06:40:00 UTC with TTL 3600 s",
        until=NOW + timedelta(minutes=45),
    )
    stale = finding(
        "dns.resolvers-converged", Status.FAIL, f"{old} of 22 answers lead to old: resolver-0 (40 s left), resolver-1"
    )
    return judged(
        Verdict.CONVERGING,
        horizon,
        *([stale] if old else []),
        _traffic(share),
        *_rest(),
        at=at,
        not_before=NOW + timedelta(minutes=45),
        summary={"resolvers": rows(old), "shares": {"requests": {"share": share}}},
    )


def split_brain() -> Judged:
    alarm = finding(
        "database.split-brain",
        Status.FAIL,
        "both databases took writes since the change at 06:40:00 UTC: old 212 rows (public.orders 180), new 9041 rows",
        "old and new",
        fix="cutover fence\ncutover reconcile --estimate\ncutover reconcile",
    )
    before = converging()
    return replace(
        before, verdict=Verdict.SPLIT_BRAIN.value, exit_code=5, findings=(alarm, *before.findings), soaked={NAME: 0.0}
    )


def converged(command: str = "done") -> Judged:
    return judged(
        Verdict.CONVERGED,
        _traffic(0.0),
        *_rest(),
        command=command,
        soaked={NAME: SOAK.total_seconds()},
        not_before=NOW - timedelta(minutes=5),
        summary={"resolvers": [row(number, "new") for number in range(24)], "shares": {"requests": {"share": 0.0}}},
    )


def blocked() -> Judged:
    return judged(
        Verdict.BLOCKED,
        finding(
            "dns.ttl-lowered",
            Status.FAIL,
            "TTL is 86400 s at hop 1 of 1 (limit 60 s)",
            fix=FIX,
            measured={"ttl": 86400, "limit": 60},
        ),
        finding("dns.ttl-aged", Status.FAIL, "not lowered yet", until=NOW + timedelta(days=1)),
        finding("origin.reachable", Status.INCONCLUSIVE, "the new side is not given: add --new", "app.example.com"),
        finding("dns.zone-agreement", Status.PASS, "2 servers hold the same records and serial 2025111203"),
        finding("dns.change-insync", Status.SKIP, "no change id is known"),
        command="preflight",
        planned=False,
        safe_to_change_at=NOW + timedelta(days=1),
    )


def story(*entries: Observation) -> Story:
    made = Story()
    for entry in entries:
        made.add(entry)
    return made


def night(last: Judged) -> Story:
    """A whole night of rounds that ends with ``last``."""
    began = NOW - timedelta(minutes=75)
    made: list[Observation] = [replace(blocked(), at=began - timedelta(hours=2))]
    end = old_share(last) or 0.0
    for number in range(150):
        old = max(3 if end else 0, 22 - number // 5)
        share = end + (0.95 - end) * 0.94 ** max(0, number - 6)
        each = converging(share, old, began + timedelta(seconds=30 * number))
        if 60 <= number < 70:  # the traffic source was blind
            each = replace(each, findings=tuple(x for x in each.findings if not x.check.startswith("traffic")))
        made.append(each)
    return story(*made, last)


def sign_off(**more: object) -> SignedOff:
    values: dict[str, object] = {
        "at": NOW,
        "names": (NAME,),
        "plan_hash": HASH,
        "ledger_head": HASH[::-1],
        "gate_changes": {"soak": "30m", "max_old_share": 0.002},
        "bound": "Not seen: at most 0.008% of requests at 95 % confidence",
        "who": "ops@bastion",
        **more,
    }
    return SignedOff(**values)  # type: ignore[arg-type]


def override(**more: object) -> Overridden:
    values: dict[str, object] = {
        "at": NOW - timedelta(minutes=2),
        "checks": ("dns.resolvers-converged",),
        "reason": "resolver-0 belongs to a provider without customers of ours",
        "who": "ops@bastion",
        "verdict": "converging",
        "plan_hash": HASH,
        "ledger_head": HASH,
        **more,
    }
    return Overridden(**values)  # type: ignore[arg-type]


def with_decisions(last: Judged, decisions: Iterable[Observation]) -> Story:
    made = night(last)
    for entry in decisions:
        made.add(entry)
    return made
