"""One round: probe, keep, judge. The same for ``preflight``, ``watch`` and ``done``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cutover.check import run_checks
from cutover.clock import Jumps, SteadyClock
from cutover.errors import CutoverError
from cutover.evidence import Evidence
from cutover.finding import Finding, Phase, Status
from cutover.folds.soak import Soak
from cutover.horizon import horizon
from cutover.ledger import Ledger
from cutover.observations.base import Observation
from cutover.observations.clock import ClockJumped
from cutover.observations.gate import Judged
from cutover.plan import Plan
from cutover.verdict import Verdict, judge

if TYPE_CHECKING:
    from cutover.probes.world import World


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one round came to.

    Attributes:
        judged: the entry as the ledger holds it.
        soaks: each name's soak after this round.
        eta: when everything that only needs time will have had it, None when something else is missing.
        unkept: why the round could not be written to the ledger; it then counts for nothing.
    """

    judged: Judged
    verdict: Verdict
    soaks: Mapping[str, Soak]
    eta: datetime | None = None
    unkept: str = ""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, in the order of the checks."""
        return self.judged.findings


class Rounds:
    """Runs rounds over one ledger with one plan.

    Args:
        plan: already with its sides swapped when ``reverse``.
        reverse: a roll-back is watched.
        planned: there is a plan file, not just a host name.
        command: what the entries say ran them.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        clock: SteadyClock,
        *,
        command: str,
        phase: Phase,
        base_dir: Path,
        reverse: bool = False,
        planned: bool = True,
    ) -> None:
        self.plan = plan
        self.ledger = ledger
        self.clock = clock
        self.command = command
        self.phase = phase
        self.base_dir = base_dir
        self.reverse = reverse
        self.planned = planned
        self.evidence = Evidence(plan)
        self.evidence.phase = phase
        self._read_to = 0
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._jumps = Jumps(clock)
        self._begun = False

    def catch_up(self) -> None:
        """Take what the ledger holds and this object has not read yet (another watcher's rounds included)."""
        for seq, observation in self.ledger.read(after=self._read_to):
            self._read_to = seq
            self._latest = max(self._latest, observation.at)
            self.evidence.add(observation)

    async def run(self, world: World, *, names: Sequence[str] | None = None) -> Judgement:
        """Run one round.

        Args:
            world: the probes, opened.
            names: judge only these of the plan's names (``done --name``).

        A ledger that cannot be written makes the round inconclusive, and it leaves no trace in the soak. So does
        a clock that was put back: what was seen before would look like the present.
        """
        began = self.clock.now()
        try:
            self.catch_up()
            self._refuse_another()
            self._note_jump()
            self.ledger.refuse_backward(self._latest, began, exit_code=int(Verdict.INCONCLUSIVE.exit_code))
            self.evidence.begin(began)
            async for observations in world.observe(self.plan, self.evidence, self.phase):
                self._keep(observations)
            self._note_jump()
            self.evidence.settle()
        except CutoverError as error:
            if error.exit_code == Verdict.INCONCLUSIVE.exit_code:
                return self._unkept(began, error)
            raise
        now = self.clock.now()
        judgement = self.judge(began, now, names or self.plan.names)
        try:
            self._keep([judgement.judged])
        except CutoverError as error:
            return self._unkept(began, error)
        return judgement

    def judge(self, began: datetime, now: datetime, names: Sequence[str]) -> Judgement:
        """Judge what the evidence holds; pure."""
        found = run_checks(self.phase, self.plan, self.evidence, now)
        findings = tuple(self._facing(x) for x in found if x.name in {"", *names})
        draft = Judged(
            at=now,
            command=self.command,
            phase=self.phase.value,
            migration=self.plan.migration.name,
            began=began,
            plan_hash=self.plan.hash(),
            reverse=self.reverse,
            planned=self.planned,
            names=tuple(names),
            verdict="",
            exit_code=0,
            findings=findings,
            soaked={},
            summary={},
        )
        soaks = {name: self.evidence.soaks.next(name, draft) for name in names} if self.phase is Phase.WATCH else {}
        verdict = judge(self.phase, findings, soaked=self._complete(soaks, findings, now))
        return Judgement(
            replace(
                draft,
                verdict=verdict.value,
                exit_code=int(verdict.exit_code),
                soaked={name: soak.held.total_seconds() for name, soak in soaks.items()},
                safe_to_change_at=self._safe_to_change_at(findings, now),
                not_before=self._not_before(names),
                summary=self._summary(names, findings),
            ),
            verdict,
            soaks,
            self._eta(verdict, findings, soaks, now),
        )

    def _facing(self, finding: Finding) -> Finding:
        """Keep a roll-back from being told to fence: the plan's old is where it leads."""
        turned = self.reverse and finding.fix.startswith("cutover fence")
        return replace(finding, fix="cutover explain rollback") if turned else finding

    def _complete(self, soaks: Mapping[str, Soak], findings: Iterable[Finding], now: datetime) -> bool:
        """Tell whether every name has soaked; ``done`` also takes a soak that was complete not too long ago."""
        if not soaks or any(x.extends_soak for x in findings):
            return False
        gate = self.plan.gate
        if self.command == "done":
            return all(
                soak.completed_at is not None and now - soak.completed_at <= gate.valid_for for soak in soaks.values()
            )
        return all(soak.held >= gate.soak for soak in soaks.values())

    def _refuse_another(self) -> None:
        """Refuse to begin in the ledger of another migration: each one's rounds would end the other's soak."""
        last = self.evidence.story.last
        if self._begun or last is None or last.phase != Phase.WATCH.value:
            return
        if last.migration != self.plan.migration.name and not set(last.names) & set(self.plan.names):
            raise CutoverError(
                f"{self.ledger.path}: belongs to another migration: {last.migration} "
                f"({', '.join(x.rstrip('.') for x in last.names[:3])})",
                "name a ledger of its own with --ledger FILE",
            )
        self._begun = True

    def _note_jump(self) -> None:
        jumped = self._jumps.since_last()
        if jumped:
            self._keep([ClockJumped(at=self.clock.now(), by=jumped.total_seconds())])

    def _keep(self, observations: Sequence[Observation]) -> None:
        if not observations:
            return
        self.ledger.append(observations)
        self.catch_up()

    def _unkept(self, began: datetime, error: CutoverError) -> Judgement:
        verdict = Verdict.INCONCLUSIVE
        judged = Judged(
            at=self.clock.now(),
            command=self.command,
            phase=self.phase.value,
            migration=self.plan.migration.name,
            began=began,
            plan_hash=self.plan.hash(),
            reverse=self.reverse,
            names=self.plan.names,
            verdict=verdict.value,
            exit_code=int(verdict.exit_code),
            findings=(),
            soaked={},
            summary=self._summary((), ()),
        )
        return Judgement(judged, verdict, {}, unkept=f"{error.message} ({error.hint})")

    def _safe_to_change_at(self, findings: Iterable[Finding], now: datetime) -> datetime | None:
        """Return when caches have let go of long TTLs: now, a later instant, or None when nobody knows."""
        if self.phase is not Phase.PREFLIGHT:
            return None
        ageing = [x for x in findings if x.check == "dns.ttl-aged"]
        if not ageing or any(x.status is Status.INCONCLUSIVE for x in ageing):
            return None
        later = [x.until for x in ageing if x.status is Status.FAIL]
        known = [at for at in later if at is not None]
        if len(known) != len(later):
            return None
        return max(known, default=now)

    def _not_before(self, names: Iterable[str]) -> datetime | None:
        """Return the latest ``not_before`` of all names, None while one is unknown."""
        if self.phase is not Phase.WATCH:
            return None
        horizons = [horizon(self.plan, self.evidence, name) for name in names]
        known = [x.not_before for x in horizons if x.not_before is not None and not x.unknown]
        return max(known) if known and len(known) == len(horizons) else None

    def _eta(
        self, verdict: Verdict, findings: Iterable[Finding], soaks: Mapping[str, Soak], now: datetime
    ) -> datetime | None:
        if verdict is not Verdict.CONVERGING or any(x.extends_soak for x in findings):
            return None
        from cutover.verdict import blockers

        waits = blockers(findings, Status.FAIL)
        if any(x.until is None for x in waits):
            return None
        soak = self.plan.gate.soak
        if waits:
            return max(x.until for x in waits if x.until is not None) + soak
        return now + max((soak - x.held for x in soaks.values()), default=timedelta(0))

    def _summary(self, names: Sequence[str], findings: Sequence[Finding]) -> dict[str, object]:
        if self.phase is not Phase.WATCH:
            return {}
        return {
            "resolvers": [row for name in names for row in self._resolver_rows(name)],
            "shares": {x.subject: dict(x.measured) for x in findings if x.check == "traffic.converged" and x.measured},
        }

    def _resolver_rows(self, name: str) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for resolver in self.evidence.resolvers.members():
            for rtype in self.evidence.sides.types(name):
                standing = self.evidence.resolvers.standing(resolver.id, name, rtype)
                if standing is None or standing.at < self.evidence.began:
                    continue
                rows.append(
                    {
                        "resolver": resolver.id,
                        "operator": resolver.operator,
                        "country": resolver.country,
                        "tier": resolver.tier.value,
                        "name": name.rstrip("."),
                        "type": rtype,
                        "class": standing.now.value,
                        "remaining_ttl": standing.remaining,
                        "last_old": standing.last_old,
                    }
                )
        return rows
