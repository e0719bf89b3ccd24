"""Metrics: the exposition format (0.0.4) read strictly, by a parser of its own and by Prometheus' own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest

from cutover.observations.gate import Judged
from cutover.report.metrics import metrics_text
from cutover.verdict import Verdict
from tests.report import scenes
from tests.report.scenes import NAME, NOW

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"')
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    """Read the format strictly: HELP and TYPE once and first, samples of one metric together, no series twice."""
    assert text.endswith("\n")
    found: Samples = {}
    typed: list[str] = []
    helped: list[str] = []
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helped
            assert len(line.split(" ", 3)[3]) > 10
            helped.append(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed
            assert helped[-1] == name
            assert kind in {"gauge", "counter"}
            typed.append(name)
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, inside, value = match.groups()
            assert typed[-1] == name, "samples of one metric stand together"
            labels = LABEL.findall(inside or "")
            assert len(dict(labels)) == len(labels)
            key = (name, frozenset((k, unescaped(v)) for k, v in labels))
            assert key not in found, key
            found[key] = float(value)
    assert helped == typed
    return found


def unescaped(text: str) -> str:
    return text.replace(r"\n", "\n").replace(r"\"", '"').replace(r"\\", "\\")


def value(samples: Samples, metric: str, /, **labels: str) -> float:
    (one,) = [x for (name, own), x in samples.items() if name == metric and set(labels.items()) <= own]
    return one


SCENES = [scenes.converging(), scenes.split_brain(), scenes.converged(), scenes.blocked()]


@pytest.mark.parametrize("judged", SCENES, ids=lambda x: x.verdict)
def test_the_format_is_kept(judged: Judged) -> None:
    samples = parsed(metrics_text(judged))
    assert value(samples, "cutover_verdict", verdict=judged.verdict) == 1
    assert sum(x for (name, _), x in samples.items() if name == "cutover_verdict") == 1
    assert value(samples, "cutover_exit_code") == judged.exit_code
    assert value(samples, "cutover_round_timestamp_seconds") == judged.at.timestamp()


def test_the_numbers_are_the_rounds() -> None:
    samples = parsed(metrics_text(replace(scenes.converging(), soaked={NAME: 123456.5})))
    labels = {"name": "app.example.com", "type": "A"}
    assert value(samples, "cutover_resolver_answers", **labels, **{"class": "old"}) == 3
    assert value(samples, "cutover_resolver_answers", **labels, **{"class": "new"}) == 19
    assert value(samples, "cutover_resolver_answers", **labels, **{"class": "timeout"}) == 2
    assert value(samples, "cutover_soak_seconds", name="app.example.com") == 123456.5
    assert value(samples, "cutover_old_share") == 0.082
    assert value(samples, "cutover_not_before_timestamp_seconds") == (NOW + timedelta(minutes=45)).timestamp()
    assert value(samples, "cutover_findings", check="dns.horizon", status="fail", severity="blocker") == 1


def test_two_migrations_in_one_folder_share_no_series() -> None:
    one, other = (parsed(metrics_text(replace(scenes.converging(), migration=name))) for name in ("a", "b"))
    assert not one.keys() & other.keys()


def test_what_is_not_known_is_absent() -> None:
    samples = parsed(metrics_text(scenes.judged(Verdict.INCONCLUSIVE)))
    names = {name for name, _ in samples}
    assert not names & {"cutover_old_share", "cutover_not_before_timestamp_seconds", "cutover_resolver_answers"}
    assert value(samples, "cutover_verdict", verdict="inconclusive") == 1


def test_hostile_labels_stay_labels() -> None:
    hostile = 'a"} 1\ncutover_verdict{verdict="converged"} 1\n# TYPE x\\'
    judged = replace(scenes.converging(), migration=hostile, soaked={hostile: 5.0})
    samples = parsed(metrics_text(judged))
    assert value(samples, "cutover_verdict", migration=hostile, verdict="converged") == 0
    assert value(samples, "cutover_soak_seconds", name=hostile) == 5


@pytest.mark.parametrize("judged", SCENES, ids=lambda x: x.verdict)
def test_prometheus_own_tool_has_nothing_to_say(judged: Judged) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with Debian's prometheus"
    said = subprocess.run(
        [promtool, "check", "metrics"], input=metrics_text(judged), capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
