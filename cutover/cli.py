"""The command line: parse, call, exit. Everything heavy is imported by the command that needs it."""

import inspect
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cutover.errors import CutoverError

if TYPE_CHECKING:
    from cutover.commands.session import Session

app = typer.Typer(
    name="cutover",
    help=(
        "Keeps a hosting migration from being called done while part of the world still uses the old side.\n\n"
        "Example: cutover preflight app.example.com"
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Command = Callable[..., int]

PlanOption = Annotated[Path | None, typer.Option("--plan", metavar="FILE", help="The plan [default: cutover.toml].")]
LedgerOption = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="FILE", help="The ledger [default: cutover.ledger beside the plan]."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NoColorOption = Annotated[bool, typer.Option("--no-color", help="No colours.")]
VerboseOption = Annotated[int, typer.Option("--verbose", "-v", count=True, show_default=False, help="Say more.")]
QuietOption = Annotated[int, typer.Option("--quiet", "-q", count=True, show_default=False, help="Say less.")]
OldOption = Annotated[
    list[str] | None,
    typer.Option("--old", metavar="A", help="Addresses, CIDR blocks or CNAME targets of the old side."),
]
NewOption = Annotated[
    list[str] | None,
    typer.Option("--new", metavar="B", help="Addresses, CIDR blocks or CNAME targets of the new side."),
]


def _session(
    plan: PlanOption = None,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
    no_color: NoColorOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> "Session":
    """Take the options that every command has."""
    from cutover.commands.session import Session
    from cutover.output import Output

    return Session.of(plan, ledger, Output.of(as_json=as_json, no_color=no_color, verbose=verbose, quiet=quiet))


def subcommand(*, example: str) -> Callable[[Command], Command]:
    """Register a command: its own options, then those of :func:`_session`, which makes its first argument."""
    shared = inspect.signature(_session).parameters

    def register(function: Command) -> Command:
        own = list(inspect.signature(function).parameters.values())[1:]
        parameters = [x.replace(kind=inspect.Parameter.KEYWORD_ONLY) for x in (*own, *shared.values())]

        def run(**options: object) -> int:
            session = _session(**{name: options.pop(name) for name in shared})  # type: ignore[arg-type]
            try:
                return function(session, **options)
            except KeyboardInterrupt:  # beyond this, typer makes a bare 130 of it
                return _interrupted()

        run.__signature__ = inspect.Signature(parameters, return_annotation=int)  # type: ignore[attr-defined]
        run.__annotations__ = {x.name: x.annotation for x in parameters}
        run.__doc__ = function.__doc__
        app.command(function.__name__, epilog=f"Example: {example}")(run)
        return function

    return register


def _version(wanted: bool) -> None:
    if wanted:
        from cutover import __version__

        typer.echo(f"cutover {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@subcommand(example="cutover init app.example.com --new d111.cloudfront.example")
def init(
    session: "Session",
    name: Annotated[str | None, typer.Argument(help="The host name that moves.", show_default=False)] = None,
    old: OldOption = None,
    new: NewOption = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the plan's JSON Schema instead.")] = False,
) -> int:
    """Write cutover.toml: finds zone, provider, records, TTLs and the chain."""
    import cutover.commands.init as command

    return command.run(session, name, old, new, schema=schema)


@subcommand(example="cutover preflight app.example.com --new 198.51.100.20")
def preflight(
    session: "Session",
    name: Annotated[
        str | None, typer.Argument(help="One host name; without it, the plan's.", show_default=False)
    ] = None,
    old: OldOption = None,
    new: NewOption = None,
) -> int:
    """May we cut over? What must be fixed, with which command, and when may we go."""
    from cutover.commands import preflight as command

    return command.run(session, name, old, new)


@subcommand(example="cutover watch --until-done --timeout 2h")
def watch(
    session: "Session",
    once: Annotated[bool, typer.Option("--once", help="One round, judged with what the ledger holds.")] = False,
    until_done: Annotated[bool, typer.Option("--until-done", help="End when converged, or on split-brain.")] = False,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="2h", help="End after this long.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Swap the sides: watch a roll-back.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Rewrite a status page after every round.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", metavar="FILE", help="Rewrite a Prometheus text file after every round.")
    ] = None,
) -> int:
    """Watch the migration converge, live."""
    import cutover.commands.watch as command

    files = command.Files(html, metrics)
    return command.run(session, once=once, until_done=until_done, timeout=timeout, reverse=reverse, files=files)


@subcommand(example='cutover done --override traffic.visible --reason "agreed in the review"')
def done(
    session: "Session",
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="PATTERN", help="Only the names that match, such as '*.example.com'."),
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--override", metavar="CHECK", help="Go on although this check does not pass.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in every report.")] = None,
) -> int:
    """The gate: ends with 0 only when converged, and records the sign-off."""
    from cutover.commands import done as command

    return command.run(session, pattern=name, override=override, reason=reason)


@subcommand(example="cutover baseline --dump base.dump")
def baseline(
    session: "Session",
    dump: Annotated[
        Path | None, typer.Option("--dump", metavar="FILE", help="Also dump old, with that very snapshot (a folder).")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="Parallel jobs of pg_dump.")] = 2,
) -> int:
    """Record where the databases stand, before the copy and after the restore."""
    import cutover.commands.baseline as command

    return command.run(session, dump=dump, jobs=jobs)


@subcommand(example="cutover fence")
def fence(
    session: "Session",
    release: Annotated[bool, typer.Option("--release", help="Bring back exactly what was there.")] = False,
) -> int:
    """Make the old database refuse writes, and prove it."""
    import cutover.commands.fence as command

    return command.run(session, release=release)


@subcommand(example="cutover reconcile --apply reconcile-20251112T1900Z")
def reconcile(
    session: "Session",
    estimate: Annotated[bool, typer.Option("--estimate", help="Only count: how bad is it?")] = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Go on with this one, reading its decisions.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", help="Connections per database.")] = 1,
    no_merge: Annotated[bool, typer.Option("--no-merge", help="No merging by column: those become conflicts.")] = False,
    prove: Annotated[bool, typer.Option("--prove", help="Check the watermark against every row.")] = False,
    accept_inferred_deletes: Annotated[
        bool, typer.Option("--accept-inferred-deletes", help="Trust deletes that an inferred base implies.")
    ] = False,
    max_snapshot_age: Annotated[
        str, typer.Option("--max-snapshot-age", metavar="30m", help="Oldest snapshot of new that may be judged by.")
    ] = "30m",
    apply: Annotated[
        Path | None, typer.Option("--apply", metavar="BUNDLE", help="Write a bundle's changes into new.")
    ] = None,
    single_transaction: Annotated[bool, typer.Option("--single-transaction", help="All or nothing.")] = False,
    rehearse_on: Annotated[
        str | None, typer.Option("--rehearse-on", metavar="URL", help="Do it on a copy of new first.")
    ] = None,
    accept_effects: Annotated[
        list[str] | None,
        typer.Option("--accept-effects", metavar="TABLE", help="Triggers of this table may do as they do."),
    ] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="BUNDLE", help="Is every change of old in new?")
    ] = None,
    undo: Annotated[
        Path | None, typer.Option("--undo", metavar="BUNDLE", help="Take back what an apply wrote.")
    ] = None,
) -> int:
    """Three-way merge of the databases into a bundle to review; then apply, verify or undo it."""
    import cutover.commands.reconcile as command

    flags = command.Flags(
        estimate=estimate,
        bundle=bundle,
        jobs=jobs,
        no_merge=no_merge,
        prove=prove,
        accept_inferred_deletes=accept_inferred_deletes,
        max_snapshot_age=max_snapshot_age,
        apply=apply,
        single_transaction=single_transaction,
        rehearse_on=rehearse_on,
        accept_effects=accept_effects,
        verify=verify,
        undo=undo,
    )
    return command.run(session, flags)


@subcommand(example="cutover status --json")
def status(
    session: "Session",
) -> int:
    """Where things stand, from the ledger alone, offline."""
    from cutover.commands import report as command

    return command.run_status(session)


@subcommand(example="cutover report --at 2025-11-12T06:40:00Z")
def report(
    session: "Session",
    at: Annotated[str | None, typer.Option("--at", metavar="TIME", help="As it stood then (RFC 3339).")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write it as a page.")] = None,
) -> int:
    """What was seen and decided."""
    from cutover.commands import report as command

    return command.run_report(session, _instant(at), html)


@subcommand(example="cutover checks")
def checks(
    session: "Session",
) -> int:
    """List the checks."""
    from cutover.commands import explain as command

    return command.run_checks_list(session)


@subcommand(example="cutover explain dns.ttl-aged")
def explain(
    session: "Session",
    check: Annotated[str, typer.Argument(help="A check's id, or a runbook: before, during, split-brain...")],
) -> int:
    """Why a check exists, and its runbook."""
    from cutover.commands import explain as command

    return command.run_explain(session, check)


@subcommand(example="cutover rehearse --scenario careful --step")
def rehearse(
    session: "Session",
    scenario: Annotated[
        str, typer.Option("--scenario", metavar="incident|careful", help="The night as it was, or as it should be.")
    ] = "incident",
    step: Annotated[bool, typer.Option("--step", help="Wait for Enter before each chapter.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the sandbox up at the end, until Ctrl-C.")] = False,
) -> int:
    """Play the whole story in a sandbox on this machine, which has a plan and a ledger of its own."""
    from cutover.commands import rehearse as command

    return command.run(session, scenario, step=step, keep=keep)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise CutoverError(f"--at {text}: is no time", "write it as 2025-11-12T06:40:00Z") from None
    if at.tzinfo is None:
        raise CutoverError(f"--at {text}: has no time zone", "write it as 2025-11-12T06:40:00Z")
    return at


def main() -> NoReturn:
    """Run the command line; the only place where errors become exit codes."""
    try:
        code = app(standalone_mode=False)
    except CutoverError as error:
        _say_error(error.message, error.hint, error.exit_code)
        code = error.exit_code
    except KeyboardInterrupt:
        code = _interrupted()
    except BrokenPipeError:
        code = _reader_gone()
    except SystemExit as ended:
        if ended.code != 1:  # typer's own word for a broken pipe, the only one that it has here
            raise
        code = _reader_gone()
    except Exception as error:  # noqa: BLE001 - the last line of defence: a bug is told in one line, with its own code
        code = _unexpected(error)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted() -> int:
    """Say so, for commands that were not far enough to say more: 130 without a word looks like a crash."""
    from cutover.output import Output

    Output().message("cutover: interrupted", verbosity=-9)
    return 130


def _reader_gone() -> int:
    """End without a word when whoever read the output went away (``| head``): nobody interrupted more clearly."""
    from cutover.output import forget

    forget(sys.stdout)
    return 130


def _unexpected(error: Exception) -> int:
    usage = getattr(error, "format_message", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(str(error))
        return 2
    if usage is not None:
        _say_error(str(usage()), _how(error), 2)
        return 2
    if type(error).__name__ == "Abort":
        return 130
    if "-v" in sys.argv or "--verbose" in sys.argv:
        import traceback

        traceback.print_exception(error)
    _say_error(
        f"{type(error).__name__}: {error}",
        "this is a bug in cutover: run it again with -v and report what it prints",
        1,
    )
    return 1


def _how(error: Exception) -> str:
    """Say where the options of the command at hand are told, or that they come after it."""
    context = getattr(error, "ctx", None)
    if context is not None and context.parent is not None:
        return f"cutover {context.info_name} --help"
    if getattr(error, "option_name", None) in {
        "--json",
        "--plan",
        "--ledger",
        "--no-color",
        "-q",
        "--quiet",
        "-v",
        "--verbose",
    }:
        return "options come after the command: cutover status --json"
    return "cutover --help"


def _say_error(message: str, hint: str, code: int) -> None:
    from cutover.output import Output, to_json

    if "--json" in sys.argv:
        Output(as_json=True).text(to_json({"error": {"message": message, "hint": hint}, "exit_code": code}))
    else:
        Output().message(f"cutover: {message}" + (f"\n  {hint}" if hint else ""), verbosity=-9)
