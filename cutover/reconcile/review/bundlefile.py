"""Bundles on disk: written whole or not at all, read only when nobody edited them (DESIGN.md 7)."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from cutover import __version__
from cutover.errors import CutoverError
from cutover.reconcile.bundle import (
    FORMAT,
    Accounted,
    Component,
    ConflictRows,
    DatabaseMeta,
    MappedId,
    Meta,
    Step,
    TableMeta,
)
from cutover.reconcile.merge.cells import Cell, Cells, from_json, to_json
from cutover.reconcile.model import Decision, ForeignKey, Row, TableName

MANIFEST = "manifest.json"
SEALED = ("meta.json", "changes.jsonl", "accounted.jsonl", "conflicts.jsonl", "summary.json")
SEALED_SQL = ("apply.sql", "undo.sql")


class BundleWriter:
    """A bundle in the making.

    Args:
        folder: from :meth:`create`.

    Raises:
        CutoverError: the disk is full or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, parent: Path, at: datetime) -> BundleWriter:
        """Make the folder of a new run; a name that exists is never used again."""
        stem = f"reconcile-{at.astimezone(UTC):%Y%m%dT%H%MZ}"
        for number in range(1, 10_000):
            folder = parent / (stem if number == 1 else f"{stem}-{number}")
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            except OSError as error:
                raise _disk(folder, error) from None
            folder.chmod(0o700)
            return cls(folder)
        raise CutoverError(f"{parent}: too many bundles of this minute", "wait a minute")

    @property
    def work(self) -> Path:
        """A 0700 folder inside for what is spilled while reading; removed by :meth:`seal`."""
        folder = self.folder / "work"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def write(self, name: str, chunks: Iterable[str]) -> None:
        """Write one file: temporary name, 0600, synced, renamed."""
        path = self.folder / name
        try:
            with replacing(path) as file:
                file.writelines(chunks)
        except OSError as error:
            raise _disk(path, error) from None

    def write_meta(self, meta: Meta) -> None:
        """Write ``meta.json``."""
        self.write("meta.json", [_dump(meta_to_json(meta)), "\n"])

    def write_changes(self, components: Iterable[Component]) -> None:
        """Write ``changes.jsonl``."""
        self.write("changes.jsonl", (_dump(component_to_json(component)) + "\n" for component in components))

    def write_accounted(self, lines: Iterable[Accounted]) -> None:
        """Write ``accounted.jsonl``."""
        self.write("accounted.jsonl", (_dump(accounted_to_json(line)) + "\n" for line in lines))

    def write_conflicts(self, lines: Iterable[ConflictRows]) -> None:
        """Write ``conflicts.jsonl``."""
        self.write("conflicts.jsonl", (_dump(asdict(line)) + "\n" for line in lines))

    def write_id_map(self, lines: Iterable[MappedId]) -> None:
        """Write ``id_map.csv``."""
        write_id_map(self.folder, lines)

    def seal(self) -> str:
        """Write the completed marker; return the bundle's id. Nothing sealed may be written after."""
        remove_tree(self.folder / "work")
        names = [name for name in (*SEALED, *SEALED_SQL) if (self.folder / name).exists()]
        files = {name: _digest(self.folder / name) for name in names}
        bundle_id = hashlib.sha256(_dump(files).encode()).hexdigest()
        manifest = {"format": FORMAT, "tool": __version__, "id": bundle_id, "files": files}
        self.write(MANIFEST, [json.dumps(manifest, indent=1), "\n"])
        return bundle_id


class Bundle:
    """A finished bundle, checked when it is opened.

    Raises:
        CutoverError: it is missing, half-written, edited, or of a newer version of the tool.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = self._manifest()
        if manifest.get("format") != FORMAT:
            raise CutoverError(
                f"{folder}: made by cutover {manifest.get('tool', '?')}, bundle format {manifest.get('format')!r}",
                f"use that version, or run cutover reconcile again (this one writes format {FORMAT})",
            )
        files = manifest.get("files")
        if not isinstance(files, dict) or not set(SEALED) <= set(files):
            raise self._edited(MANIFEST)
        if hashlib.sha256(_dump(files).encode()).hexdigest() != manifest.get("id"):
            raise self._edited(MANIFEST)
        for name, expected in files.items():
            try:
                found = _digest(folder / name)
            except OSError:
                raise self._edited(name) from None
            if found != expected:
                raise self._edited(name)
        self._load(str(manifest["id"]))

    def _load(self, bundle_id: str) -> None:
        self.id = bundle_id
        self.meta = meta_from_json(json.loads((self.folder / "meta.json").read_text(encoding="utf-8")))
        self.summary: Mapping[str, Any] = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))

    @classmethod
    def unsealed(cls, folder: Path) -> Bundle:
        """Open a bundle that its writer is about to seal (to render ``apply.sql``); its id is empty."""
        bundle = cls.__new__(cls)
        bundle.folder = folder
        bundle._load("")
        return bundle

    def _manifest(self) -> dict[str, Any]:
        if not self.folder.is_dir():
            raise CutoverError(f"{self.folder}: there is no such bundle", "cutover reconcile makes one")
        try:
            manifest = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CutoverError(
                f"{self.folder}: is half-written: the run that made it did not end", "run cutover reconcile again"
            ) from None
        except (OSError, ValueError):
            raise self._edited(MANIFEST) from None
        if not isinstance(manifest, dict):
            raise self._edited(MANIFEST)
        return manifest

    def _edited(self, name: str) -> CutoverError:
        return CutoverError(
            f"{self.folder / name}: is not what cutover wrote: the bundle was edited or damaged",
            "decide in decisions.toml and run cutover reconcile --bundle again",
        )

    def components(self) -> Iterator[Component]:
        """Yield the change set in order."""
        for value in _lines(self.folder / "changes.jsonl"):
            yield component_from_json(value)

    def accounted(self, decision: Decision | None = None) -> Iterator[Accounted]:
        """Yield every change of old with its class, or those of one class."""
        for value in _lines(self.folder / "accounted.jsonl", "" if decision is None else f'"{decision}"'):
            if decision is None or value["decision"] == decision:
                yield accounted_from_json(value)

    def conflicts(self) -> Iterator[ConflictRows]:
        """Yield the rows of every conflict."""
        for value in _lines(self.folder / "conflicts.jsonl"):
            new_key = value["new_key"]
            yield ConflictRows(
                value["change"],
                _row(value["base"]),
                _row(value["old"]),
                _row(value["new"]),
                None if new_key is None else tuple(new_key),
            )

    def id_map(self) -> tuple[MappedId, ...]:
        """Return the id map; complete after the apply."""
        with (self.folder / "id_map.csv").open(encoding="utf-8", newline="") as file:
            return tuple(
                MappedId(
                    TableName(line["schema"], line["table"]),
                    line["column"],
                    line["old_id"],
                    line["new_id"] or None,
                    line["how"],
                )
                for line in csv.DictReader(file)
            )


def write_id_map(folder: Path, lines: Iterable[MappedId]) -> None:
    """Write ``id_map.csv`` (again, once the ids are drawn)."""
    path = folder / "id_map.csv"
    try:
        with replacing(path) as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
            writer.writerow(["schema", "table", "column", "old_id", "new_id", "how"])
            for line in lines:
                writer.writerow([*line.table, line.column, line.old_id, line.new_id or "", line.how])
    except OSError as error:
        raise _disk(path, error) from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[str]]:
    """Open a file that takes its name only when it is wholly written and synced; 0600."""
    temporary = path.with_name(f".{path.name}.partial")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="", errors="surrogateescape") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_tree(folder: Path) -> None:
    """Remove a work folder, if there is one."""
    if folder.is_dir():
        for child in folder.iterdir():
            if child.is_dir() and not child.is_symlink():
                remove_tree(child)
            else:
                child.unlink()
        folder.rmdir()


def _disk(path: Path, error: OSError) -> CutoverError:
    return CutoverError(
        f"{path}: cannot be written: {error.strerror or error}",
        "free space or give another folder, then run again",
        exit_code=4,
    )


def _digest(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return {"sha256": digest.hexdigest(), "size": size}


def _lines(path: Path, holding: str = "") -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, one a line; only of the lines that hold a text."""
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if holding in line:
                yield json.loads(line)


_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def _cells(cells: Iterable[Cell] | None) -> list[Any] | None:
    return None if cells is None else [cell if type(cell) is str else to_json(cell) for cell in cells]


def _row(value: Any) -> Row | None:
    return None if value is None else tuple(value)


def component_to_json(component: Component) -> dict[str, Any]:
    """Return a component as one line of ``changes.jsonl`` holds it."""
    return {
        "component": component.number,
        "deferred": component.deferred,
        "steps": [
            {
                "change": step.change,
                "table": list(step.table),
                "key": _cells(step.key),
                "pre": _cells(step.pre),
                "post": _cells(step.post),
                "add": dict(step.add),
                "park": step.park,
                "count": step.count,
                **({"dangling": list(step.dangling)} if step.dangling else {}),
            }
            for step in component.steps
        ],
    }


def component_from_json(value: Mapping[str, Any]) -> Component:
    """Read one line of ``changes.jsonl``."""

    def cells(found: Any) -> Cells | None:
        return None if found is None else tuple([cell if type(cell) is str else from_json(cell) for cell in found])

    return Component(
        value["component"],
        tuple(
            Step(
                change=step["change"],
                table=TableName(*step["table"]),
                key=cells(step["key"]) or (),
                pre=cells(step["pre"]),
                post=cells(step["post"]),
                add=step["add"],
                park=step["park"],
                count=step["count"],
                dangling=tuple(step.get("dangling", ())),
            )
            for step in value["steps"]
        ),
        value["deferred"],
    )


def accounted_to_json(line: Accounted) -> dict[str, Any]:
    """Return a line of ``accounted.jsonl``."""
    return {name: getattr(line, name) for name in Accounted.__slots__}


def accounted_from_json(value: Mapping[str, Any]) -> Accounted:
    """Read a line of ``accounted.jsonl``."""
    lists = ("key", "because_of", "columns", "rules", "effects")
    fields = {**value, **{name: tuple(value[name]) for name in lists}}
    fields["table"] = TableName(*value["table"])
    fields["decision"] = Decision(value["decision"])
    return Accounted(**fields)


def meta_to_json(meta: Meta) -> dict[str, Any]:
    """Return ``meta.json``."""
    fields: dict[str, Any] = {name: getattr(meta, name) for name in Meta.__slots__}
    fields["created_at"] = meta.created_at.isoformat()
    for side in ("old", "new"):
        database: DatabaseMeta = fields[side]
        fields[side] = {**asdict(database), "snapshot_at": database.snapshot_at.isoformat()}
    fields["tables"] = [{"table": list(name), **asdict(table)} for name, table in meta.tables.items()]
    fields["sequences"] = [[list(name), old, new] for name, old, new in meta.sequences]
    fields["references"] = [key._asdict() for key in meta.references]
    return fields


def _reference(value: Mapping[str, Any]) -> ForeignKey:
    found: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in value.items()}
    found["table"], found["to_table"] = TableName(*found["table"]), TableName(*found["to_table"])
    found["when"] = tuple((column, wanted) for column, wanted in found["when"])
    return ForeignKey(**found)


def meta_from_json(value: Mapping[str, Any]) -> Meta:
    """Read ``meta.json``."""
    fields = dict(value)
    fields["created_at"] = datetime.fromisoformat(value["created_at"])
    for side in ("old", "new"):
        fields[side] = DatabaseMeta(
            **{**value[side], "snapshot_at": datetime.fromisoformat(value[side]["snapshot_at"])}
        )
    tables: dict[TableName, TableMeta] = {}
    for entry in value["tables"]:
        found: dict[str, Any] = {name: tuple(item) if isinstance(item, list) else item for name, item in entry.items()}
        name = TableName(*found.pop("table"))
        sequence = found.pop("sequence")
        tables[name] = TableMeta(**found, sequence=None if sequence is None else TableName(*sequence))
    fields["tables"] = tables
    fields["sequences"] = tuple((TableName(*name), old, new) for name, old, new in value["sequences"])
    fields["references"] = tuple(_reference(entry) for entry in value.get("references", ()))
    return Meta(**fields)
