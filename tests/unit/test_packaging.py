"""The built wheel: one top level, every check and runbook inside, and a quick start without development tools."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked where only it and the run-time dependencies are found."""
    place = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def test_the_only_top_level_is_cutover_and_all_is_inside(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"cutover"}
    for path in (ROOT / "checks").rglob("*.py"):
        assert f"cutover/checks/{path.relative_to(ROOT / 'checks')}" in names
    for path in (ROOT / "runbooks").glob("*.md"):
        assert f"cutover/runbooks/{path.name}" in names
    assert "cutover/probes/dns/resolvers.tsv" in names
    assert "cutover/py.typed" in names
    assert {"cutover/schemas/plan.schema.json", "cutover/schemas/output.schema.json"} <= set(names)


def run_installed(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from cutover.cli import main; sys.argv[0] = 'cutover'; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, str(place), *words],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_installed_wheel_lists_and_explains_its_checks(installed: Path) -> None:
    listed = run_installed(installed, "checks")
    assert listed.returncode == 0
    count = sum(1 for path in (ROOT / "checks").glob("*/*.py") if not path.stem.startswith("_"))
    assert len(listed.stdout.splitlines()) == count + 2
    explained = run_installed(installed, "explain", "origin.tls")
    assert explained.returncode == 0
    assert "## Fix it" in explained.stdout


def test_help_is_light(installed: Path) -> None:
    code = (
        "import sys; sys.path[:0] = [sys.argv.pop(1)]; from cutover.cli import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "heavy = {'boto3', 'botocore', 'psycopg', 'numpy', 'httpx', 'dns', 'pydantic', 'cryptography'}\n"
        "sys.stderr.write(','.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(installed)], cwd=installed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "preflight" in done.stdout
    assert done.stderr == ""


def test_it_installs_without_development_dependencies(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "v", with_pip=True)
    python = tmp_path / "v" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, capture_output=True)
    shown = subprocess.run([tmp_path / "v" / "bin" / "cutover", "--help"], capture_output=True, text=True, check=True)
    assert "preflight" in shown.stdout
    checks = subprocess.run([tmp_path / "v" / "bin" / "cutover", "checks"], capture_output=True, text=True, check=True)
    assert "origin.tls" in checks.stdout
