"""Golden cases: a folder each, run on real Postgres.

``schema.sql`` and ``base.sql`` make base; ``old.sql`` and ``new.sql`` say what each side did since. ``plan.toml``
holds what the plan says ([database] parts and [[merge]]); ``run.json`` how the command is called, where it is not
plain. ``expected.json`` holds the verdict, the class of every change of old (``"orders 101": "rekeyed"``, a conflict
with its reason) and what else must be said; ``expected.sql`` are queries on new once the bundle was carried out: each
must be true.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutover.plan import Database, Merge
from cutover.reconcile.fromplan import options_from
from cutover.reconcile.options import Options

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Case:
    """One folder."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def sql(self, part: str) -> str:
        """Return one of the scripts; an absent one is empty."""
        path = self.folder / f"{part}.sql"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    @property
    def options(self) -> Options:
        """What the plan says."""
        path = self.folder / "plan.toml"
        plan = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        unknown = set(plan) - {"database", "merge"}
        assert not unknown, unknown
        return options_from(
            Database.model_validate(plan.get("database", {})),
            [Merge.model_validate(entry) for entry in plan.get("merge", [])],
        )

    @property
    def run(self) -> Mapping[str, Any]:
        """How the command is called.

        ``base``: ``database``, ``dump`` (with ``dump`` and ``dump_env``), ``watermark`` (``during`` is a transaction
        that is open while it is taken) or ``none``; ``copy``: ``restore`` makes new by dump and restore; ``accept``:
        tables whose triggers may act; and the command's flags.
        """
        return self._json("run") or {}

    @property
    def expected(self) -> Mapping[str, Any]:
        """What must come out."""
        found = self._json("expected")
        assert found is not None, f"{self.folder} has no expected.json"
        return found

    def _json(self, name: str) -> dict[str, Any] | None:
        path = self.folder / f"{name}.json"
        found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        return found


def all_cases() -> list[Case]:
    """Return every case, by name."""
    return [Case(folder) for folder in sorted(FOLDER.iterdir()) if (folder / "expected.json").exists()]
