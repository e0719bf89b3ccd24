"""``cutover rehearse``: the whole story in a local sandbox."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

from cutover.errors import CutoverError
from cutover.output import Output
from cutover.rehearsal.machine import interruptible, require_extra
from cutover.verdict import Exit

if TYPE_CHECKING:
    from cutover.commands.session import Session
    from cutover.rehearsal.narrator import Narrator
    from cutover.rehearsal.sandbox import Sandbox


class Scenario(StrEnum):
    """Which night."""

    INCIDENT = "incident"
    CAREFUL = "careful"


def run(session: Session, scenario: str, *, step: bool, keep: bool) -> int:
    """Play a night; 0 when the story could be told as it is written, 1 when a real command answered otherwise.

    Raises:
        CutoverError: there is no such scenario, the platform is not supported, the extra is missing, or the sandbox
            does not start.
    """
    output = session.output
    night = _scenario(scenario)
    require_extra()
    from cutover.rehearsal.narrator import Narrator, StoryError
    from cutover.rehearsal.sandbox import Sandbox

    began = time.monotonic()
    wrong = ""
    with interruptible():
        output.progress("starting name servers, resolvers, origins, Route 53, Postgres and users on loopback ...")
        with Sandbox() as world:
            world.write_plan()
            story = Narrator(output, world.path, world.environment, step=step)
            try:
                _tale(night)(story, world)
            except StoryError as error:
                wrong = str(error)
            seconds = time.monotonic() - began
            _end(output, story, night, seconds, wrong, kept=keep)
            if keep:
                _stay(output, world)
    return int(Exit.BUG if wrong else Exit.OK)


def _scenario(word: str) -> Scenario:
    try:
        return Scenario(word)
    except ValueError:
        known = " or ".join(Scenario)
        raise CutoverError(f"--scenario {word}: there is no such night", f"it is {known}") from None


def _tale(scenario: Scenario) -> Callable[[Narrator, Sandbox], None]:
    match scenario:
        case Scenario.INCIDENT:
            from cutover.rehearsal import incident

            return incident.tell
        case Scenario.CAREFUL:
            from cutover.rehearsal import careful

            return careful.tell
        case _:
            assert_never(scenario)


def _end(output: Output, story: Narrator, scenario: Scenario, seconds: float, wrong: str, *, kept: bool) -> None:
    code = Exit.BUG if wrong else Exit.OK
    steps = [
        {"command": ran.line, "expected": ran.expected, "exit_code": ran.code, "seconds": round(ran.seconds, 1)}
        for ran in story.ran
    ]
    form = {
        "command": "rehearse",
        "scenario": scenario.value,
        "verdict": "not-as-told" if wrong else "told",
        "exit_code": int(code),
        "seconds": round(seconds, 1),
        "steps": steps,
        **({"plan": str(story.folder / "cutover.toml")} if kept else {}),
        **({"error": {"message": wrong, "hint": ""}} if wrong else {}),
    }
    if wrong:
        output.result(form, output.paint(f"\nThe story does not come out as told: {wrong}", "red", "bold"))
        return
    left = "" if kept else " Nothing of it is left on this machine."
    said = f"\nThe story is told: {len(story.ran)} real commands in {seconds:.0f} s.{left}"
    output.result(form, output.paint(said, "green"))


def _stay(output: Output, world: Sandbox) -> None:
    """Leave the world up until Ctrl-C."""
    output.message(world.guide(), verbosity=-9)
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        output.message("gone", verbosity=-9)
