"""``cutover reconcile``: merge, apply, verify, undo."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cutover.commands.fence import database_of, database_url
from cutover.commands.session import Session, split_values
from cutover.durations import iso, parse_duration, say_duration
from cutover.errors import CutoverError
from cutover.plan import Plan
from cutover.planfile import secret

if TYPE_CHECKING:
    from cutover.reconcile.diff.planner import Progress
    from cutover.reconcile.run import ReconcileResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The command's options, as they were given."""

    estimate: bool = False
    bundle: Path | None = None
    jobs: int = 1
    no_merge: bool = False
    prove: bool = False
    accept_inferred_deletes: bool = False
    max_snapshot_age: str = "30m"
    apply: Path | None = None
    single_transaction: bool = False
    rehearse_on: str | None = None
    accept_effects: Sequence[str] | None = None
    verify: Path | None = None
    undo: Path | None = None


def run(session: Session, flags: Flags) -> int:
    """Do the one thing that the options ask for.

    Raises:
        CutoverError: they ask for several, or for options that do not go together.
    """
    _refuse_contradictions(flags)
    # psycopg warns on stderr of a roll-back that a dead server cannot do; what matters is said in one line anyway.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    plan = session.database_plan()
    if flags.apply is not None:
        return _apply(session, plan, flags, _folder(session, flags.apply))
    if flags.undo is not None:
        return _undo(session, plan, flags, _folder(session, flags.undo))
    if flags.verify is not None:
        return _verify(session, plan, _folder(session, flags.verify))
    return _merge(session, plan, flags)


def _merge(session: Session, plan: Plan, flags: Flags) -> int:
    from cutover.reconcile.review.render import render_text

    result = _read_and_merge(session, plan, flags, flags.bundle)
    output = session.output
    output.progress("")
    output.result(dict(result.json), render_text(result.summary, color=output.colour))
    return result.exit_code


def _read_and_merge(
    session: Session, plan: Plan, flags: Flags, bundle: Path | None, *, reread: bool = False
) -> ReconcileResult:
    from cutover.baseline import Baselines
    from cutover.reconcile.fromplan import options_from
    from cutover.reconcile.run import Request, Urls, reconcile

    database = database_of(plan)
    request = Request(
        folder=session.base_dir,
        migration=plan.migration.name,
        plan_hash=plan.hash(),
        estimate=flags.estimate,
        bundle=_folder(session, bundle) if bundle is not None else None,
        jobs=flags.jobs,
        no_merge=flags.no_merge,
        prove=flags.prove,
        accept_inferred_deletes=flags.accept_inferred_deletes,
        reread=reread,
        max_snapshot_age=_age(flags.max_snapshot_age),
        changed_at=plan.migration.changed_at,
    )
    baselines = Baselines()
    if session.ledger_path.exists() or not flags.estimate:
        with session.open_ledger() as ledger:
            baselines = Baselines(observation for _, observation in ledger.read())
    urls = Urls(old=database_url(plan, "old"), new=database_url(plan, "new"), base=_base(session, plan))
    return reconcile(
        options_from(database, plan.merge),
        urls,
        request,
        watermarks=baselines.watermarks(),
        progress=_reading(session),
        clock=session.clock,
    )


def _apply(session: Session, plan: Plan, flags: Flags, folder: Path) -> int:
    from cutover.fence.run import History
    from cutover.reconcile.apply.again import standing_for
    from cutover.reconcile.apply.apply import apply_bundle, fenced_since
    from cutover.reconcile.diff.planner import is_url

    with session.open_ledger() as ledger:
        history = History(observation for _, observation in ledger.read())

    url = database_url(plan, "new")

    def reread() -> Path:
        if history.proven is not None:
            since = fenced_since(history.proven)
            standing = standing_for(folder, url, plan_hash=plan.hash(), since=since)
            if standing is not None:
                session.output.message(f"the bundle is older than the fence: {standing.folder} goes on in its place")
                return standing.folder
        session.output.message("the bundle is older than the fence: old is read again")
        return _read_and_merge(session, plan, replace(flags, bundle=None), folder, reread=True).bundle

    base = _base(session, plan)
    result = apply_bundle(
        folder,
        url,
        fence=history.proven,
        plan=plan,
        reread=reread,
        single_transaction=flags.single_transaction,
        rehearse_on=secret(flags.rehearse_on, where="--rehearse-on") if flags.rehearse_on else "",
        sides={"old": database_url(plan, "old"), **({"base": base} if base is not None and is_url(base) else {})},
        accept_effects=split_values(flags.accept_effects),
        progress=_writing(session),
    )
    return _tell(session, plan, result.json(), result.text(), result.exit_code)


def _undo(session: Session, plan: Plan, flags: Flags, folder: Path) -> int:
    from cutover.reconcile.apply.again import applied_for
    from cutover.reconcile.apply.undo import undo_bundle

    url = database_url(plan, "new")
    result = undo_bundle(
        _told(session, folder, applied_for(folder, url)),
        url,
        accept_effects=split_values(flags.accept_effects),
        progress=_writing(session),
    )
    return _tell(session, plan, result.json(), result.text(), result.exit_code)


def _verify(session: Session, plan: Plan, folder: Path) -> int:
    from cutover.fence.run import History
    from cutover.reconcile.apply.again import made_for
    from cutover.reconcile.apply.verify import verify_bundle

    folder = _told(session, folder, next((bundle.folder for bundle in made_for(folder)), folder))
    with session.open_ledger() as ledger:
        history = History(observation for _, observation in ledger.read())
        result = verify_bundle(
            folder,
            database_url(plan, "new"),
            old_url=database_url(plan, "old"),
            plan=plan,
            fence=history.proven,
            clock=session.clock,
            append=ledger.append,
            progress=_writing(session),
        )
    return _tell(session, plan, result.json(), result.text(), result.exit_code)


def _told(session: Session, named: Path, folder: Path) -> Path:
    """Say which bundle is meant when it is not the one that was named."""
    if folder != named:
        session.output.message(f"{named} is older than the fence: its apply made {folder}, and that one is meant")
    return folder


def _tell(session: Session, plan: Plan, form: dict[str, object], text: str, code: int) -> int:
    output = session.output
    output.progress("")
    head = {"command": "reconcile", "migration": plan.migration.name, "at": iso(session.clock.now()), "findings": []}
    output.result({**head, **form}, text)
    return code


def _refuse_contradictions(flags: Flags) -> None:
    given = [name for name in ("apply", "verify", "undo") if getattr(flags, name) is not None]
    if len(given) > 1:
        raise CutoverError(f"--{given[0]} and --{given[1]} do not go together", "run one after the other")
    merging = [x for x in ("estimate", "no_merge", "prove", "accept_inferred_deletes") if getattr(flags, x)]
    merging += ["bundle"] if flags.bundle is not None else []
    if given and merging:
        raise CutoverError(f"--{merging[0].replace('_', '-')} does not go with --{given[0]}", "leave one of them out")
    applying = [x for x in ("single_transaction", "rehearse_on") if getattr(flags, x)]
    if applying and given != ["apply"]:
        raise CutoverError(f"--{applying[0].replace('_', '-')} goes with --apply BUNDLE", "name the bundle to apply")
    if flags.accept_effects and given not in (["apply"], ["undo"]):
        raise CutoverError("--accept-effects goes with --apply or --undo", "name the bundle")
    if flags.jobs < 1:
        raise CutoverError("--jobs must be at least 1", "for example --jobs 2")


def _folder(session: Session, path: Path) -> Path:
    """Return a bundle's folder: from here, else beside the plan, where reconcile makes them."""
    beside = session.base_dir / path
    return beside if not path.exists() and beside.exists() else path


def _base(session: Session, plan: Plan) -> str | None:
    base = database_of(plan).base
    if base is None:
        return None
    text = secret(base, where="[database] base")
    is_url = "://" in text or "dbname=" in text or "host=" in text
    return text if is_url else str(session.base_dir / text)


def _age(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CutoverError(f"--max-snapshot-age: {error}", "for example --max-snapshot-age 30m") from None


def _reading(session: Session) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.message:
            session.output.message(progress.message)
        eta = f", {say_duration(progress.eta)} left" if progress.eta is not None else ""
        session.output.progress(
            f"table {progress.number} of {progress.tables} {progress.table}: "
            f"{progress.fraction:.0%}, {progress.rate:,.0f} rows/s{eta}"
        )

    return report


def _writing(session: Session) -> Callable[[int, int, str], None]:
    began = session.clock.now()

    def report(done: int, total: int, what: str) -> None:
        seconds = (session.clock.now() - began).total_seconds()
        rate = done / seconds if seconds > 0 else 0.0
        eta = f", {say_duration((total - done) / rate)} left" if rate and total > done else ""
        bar = "█" * (20 * done // total) if total else ""
        session.output.progress(f"{what} [{bar:<20}] {done} of {total}, {rate:,.0f}/s{eta}")

    return report
