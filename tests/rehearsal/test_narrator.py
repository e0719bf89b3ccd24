"""A real command that answers otherwise than the story says ends the story, and says so."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cutover.clock import SystemClock
from cutover.commands import rehearse
from cutover.commands.session import Session
from cutover.output import Output
from cutover.rehearsal import incident, sandbox
from cutover.rehearsal.machine import environment
from cutover.rehearsal.narrator import Narrator, StoryError


@pytest.fixture
def story(tmp_path: Path) -> Narrator:
    return Narrator(Output(), tmp_path, environment())


def test_the_telling_line_is_shown_and_the_others_are_not(story: Narrator, capsys: pytest.CaptureFixture[str]) -> None:
    story.cutover("checks", code=0, telling=[r"dns\.ttl-lowered"], meaning="listed")
    said = capsys.readouterr().out
    assert "$ cutover checks" in said
    assert "dns.ttl-lowered" in said
    assert "dns.dnssec" not in said
    assert "-> exit 0: listed" in said


def test_another_exit_code_ends_the_story_and_shows_everything(
    story: Narrator, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoryError, match="`cutover checks` ended with 0; the story says 3"):
        story.cutover("checks", code=3, telling=[])
    assert "| " in capsys.readouterr().out
    assert [(ran.expected, ran.code) for ran in story.ran] == [(3, 0)]


def test_a_telling_line_that_is_missing_ends_the_story(story: Narrator) -> None:
    with pytest.raises(StoryError, match="says nothing of: flying saucers"):
        story.cutover("checks", code=0, telling=["flying saucers"])


def test_an_error_is_told_with_what_it_said(story: Narrator, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StoryError, match="ended with 2"):
        story.cutover("status", code=0, telling=[])
    assert "cutover.ledger" in capsys.readouterr().out


@pytest.mark.parametrize(("as_json", "broken"), [(True, True), (False, True), (True, False), (False, False)])
def test_the_end_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, as_json: bool, broken: bool
) -> None:
    class World:
        path = tmp_path
        environment = environment()

        def write_plan(self) -> None:
            pass

    @contextlib.contextmanager
    def nothing() -> Iterator[World]:
        yield World()

    def tell(story: Narrator, world: object) -> None:
        story.say("Something happens.")
        if broken:
            raise StoryError("`cutover done` ended with 0; the story says 3", "CONVERGED (0)")

    monkeypatch.setattr(sandbox, "Sandbox", nothing)
    monkeypatch.setattr(incident, "tell", tell)
    session = Session(Path("cutover.toml"), False, None, Output(as_json=as_json), SystemClock())
    assert rehearse.run(session, "incident", step=False, keep=False) == (1 if broken else 0)
    out = capsys.readouterr().out
    if as_json:
        form = json.loads(out)
        assert form["exit_code"] == (1 if broken else 0)
        assert form["verdict"] == ("not-as-told" if broken else "told")
        assert form.get("error", {}).get("output") == ("CONVERGED (0)" if broken else None)
    else:
        assert "Something happens." in out
        assert ("does not come out as told: `cutover done` ended with 0" in out) is broken
        assert ("run it again when it is idle" in out) is broken
        assert ("Nothing of it is left" in out) is not broken


def test_a_narrow_terminal_cuts_no_idea_short(
    story: Narrator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    story.chapter("A title")
    story.say("A sentence that is longer than forty-four columns, and goes on for a while.")
    story.act("does something that takes more than one line to tell, too")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 44
    assert "while." in lines[-4] + lines[-3]
