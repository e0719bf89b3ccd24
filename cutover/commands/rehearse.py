"""``cutover rehearse``: the whole story in a local sandbox."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, assert_never

from cutover.errors import CutoverError
from cutover.output import Output
from cutover.rehearsal.machine import interruptible, require_extra
from cutover.verdict import Exit

if TYPE_CHECKING:
    from cutover.commands.session import Session
    from cutover.rehearsal.narrator import Narrator, StoryError
    from cutover.rehearsal.sandbox import Sandbox


class Scenario(StrEnum):
    """Which night."""

    INCIDENT = "incident"
    CAREFUL = "careful"


_BUSY = "where other work keeps the machine busy, answers come too late: run it again when it is idle"

_NEXT = {
    Scenario.INCIDENT: "cutover rehearse --scenario careful",
    Scenario.CAREFUL: "cutover preflight YOUR.HOST.NAME",
}


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
    wrong: StoryError | None = None
    with interruptible():
        output.progress("starting name servers, resolvers, origins, Route 53, Postgres and users on loopback ...")
        with Sandbox() as world:
            output.progress("")
            world.write_plan()
            story = Narrator(output, world.path, world.environment, step=step)
            try:
                _tale(night)(story, world)
            except StoryError as error:
                wrong = error
            form = _form(story, night, time.monotonic() - began, wrong)
            if keep:
                _tell(output, {**form, "plan": str(world.path / "cutover.toml")}, wrong, left="")
                _stay(output, world)
    if not keep:
        _tell(output, form, wrong, left=" Nothing of it is left on this machine.")
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


def _form(story: Narrator, scenario: Scenario, seconds: float, wrong: StoryError | None) -> dict[str, object]:
    steps = [
        {"command": ran.line, "expected": ran.expected, "exit_code": ran.code, "seconds": round(ran.seconds, 1)}
        for ran in story.ran
    ]
    return {
        "command": "rehearse",
        "scenario": scenario.value,
        "verdict": "not-as-told" if wrong else "told",
        "exit_code": int(Exit.BUG if wrong else Exit.OK),
        "seconds": round(seconds, 1),
        "steps": steps,
        "next": _NEXT[scenario],
        **({"error": {"message": str(wrong), "hint": _BUSY, "output": wrong.output}} if wrong else {}),
    }


def _tell(output: Output, form: Mapping[str, Any], wrong: StoryError | None, *, left: str) -> None:
    if wrong is not None:
        text = output.paint(f"The story does not come out as told: {wrong}", "red", "bold") + f"\n  {_BUSY}"
    else:
        told = f"The story is told: {len(form['steps'])} real commands in {form['seconds']:.0f} s."
        text = f"{output.paint(told + left, 'green')}\nNext: {form['next']}"
    output.result(form, f"\n{text}")


def _stay(output: Output, world: Sandbox) -> None:
    """Leave the world up until Ctrl-C."""
    output.message(world.guide(), verbosity=-9)
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        output.message("gone", verbosity=-9)
