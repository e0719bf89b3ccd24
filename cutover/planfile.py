"""Reading ``cutover.toml``: errors that say file, table, key and what to do; secrets from the environment."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cutover.errors import CutoverError
from cutover.plan import Name, Plan

DEFAULT_PLAN = "cutover.toml"
_LATER = frozenset({"vantage"})
"""Parts of the design that have no keys yet."""


def load_plan(path: Path) -> Plan:
    """Read a plan file.

    Raises:
        CutoverError: it is missing, is no TOML, has an unknown key or a wrong value, names a part that is
            not supported yet, or no name at all.
    """
    plan = plan_tables(path)
    if not plan.name:
        raise CutoverError(f"{path}: no [[name]]: nothing would be checked", 'add [[name]] with name = "..."')
    return plan


def plan_tables(path: Path) -> Plan:
    """Read a plan file that may be without names: its settings then serve a name from the command line.

    Raises:
        CutoverError: as :func:`load_plan`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CutoverError(
            f"{path}: there is no plan file", "cutover init NAME writes one; --plan FILE names another"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CutoverError(f"{path}: cannot be read: {_reason(error)}", "check the file and its rights") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CutoverError(f"{path}: is not TOML: {error}", "mend that line") from None
    return plan_from(tables, where=str(path), base_dir=path.parent)


def plan_from(tables: Mapping[str, Any], *, where: str, base_dir: Path) -> Plan:
    """Make a plan of parsed tables, with ``names_file`` read in.

    Raises:
        CutoverError: as :func:`load_plan`.
    """
    try:
        plan = Plan.model_validate(tables)
    except ValidationError as error:
        raise _first_error(error, tables, where) from None
    _refuse_unsupported(plan, where)
    if plan.migration.names_file is not None:
        plan = plan.model_copy(update={"name": plan.name + _names_from_file(plan, base_dir, where)})
    seen: set[str] = set()
    for entry in plan.name:
        if entry.name in seen:
            raise CutoverError(f"{where}: [[name]] {entry.name.rstrip('.')} stands twice", "keep one of them")
        seen.add(entry.name)
    return plan


def secret(reference: str, *, where: str) -> str:
    """Return the value of ``env:NAME``, or the text itself when it is no reference.

    Raises:
        CutoverError: the variable is not set.
    """
    if not reference.startswith("env:"):
        return reference
    variable = reference.removeprefix("env:")
    value = os.environ.get(variable, "")
    if not value:
        raise CutoverError(f"{where}: the environment variable {variable} is not set", f"export {variable}=...")
    return value


def plan_schema() -> dict[str, Any]:
    """Return the plan's JSON Schema (draft 2020-12), as ``cutover init --schema`` prints it."""
    schema = _as_written(Plan.model_json_schema(by_alias=True))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "cutover.toml"}


def _as_written(part: Any) -> Any:
    """Write durations (ISO 8601 to pydantic) as a plan does: editors offer a default to be taken over."""
    if isinstance(part, dict):
        return {key: _as_written(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_as_written(value) for value in part]
    if isinstance(part, str) and re.fullmatch(r"P(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?", part) and part != "P":
        return part.removeprefix("P").replace("T", "").lower()
    return part


def _names_from_file(plan: Plan, base_dir: Path, where: str) -> tuple[Name, ...]:
    path = base_dir / str(plan.migration.names_file)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CutoverError(
            f"{where}: [migration] names_file: {path}: {_reason(error)}", "one host name a line"
        ) from None
    names: list[Name] = []
    for number, line in enumerate(lines, 1):
        host = line.split("#", 1)[0].strip()
        if not host:
            continue
        try:
            names.append(Name.model_validate({"name": host}))
        except ValidationError as error:
            problem = _text_of(error.errors()[0])
            raise CutoverError(f"{path}: line {number}: {problem}", "one host name a line") from None
    return tuple(names)


def _refuse_unsupported(plan: Plan, where: str) -> None:
    refused: list[str] = []
    if plan.providers.cloudflare is not None:
        refused.append("[providers.cloudflare]")
    if any(entry.provider == "cloudflare" for entry in plan.name):
        refused.append('[[name]] provider = "cloudflare"')
    if any(entry.proxied for entry in plan.name):
        refused.append("[[name]] proxied = true")
    if plan.bucket:
        refused.append("[[bucket]]")
    if refused:
        raise _not_yet(refused, where)


def _not_yet(parts: Sequence[str], where: str) -> CutoverError:
    return CutoverError(f"{where}: {', '.join(parts)}: not supported yet", "take it out of the plan")


def _first_error(error: ValidationError, tables: Mapping[str, Any], where: str) -> CutoverError:
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    location = [part for part in problem["loc"] if not _is_union_branch(part)]
    place = _place(location, tables)
    if problem["type"] == "extra_forbidden":
        key = str(location[-1])
        if key in _LATER and len(location) == 1:
            return _not_yet([f"[{key}]"], where)
        near = difflib.get_close_matches(key, _known_keys(location[:-1]), n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else "take it out; `cutover init --schema` lists the keys"
        return CutoverError(f"{where}: {place}: unknown key", hint)
    hint = "see `cutover init --schema` for what fits"
    if "stands in the" in str(problem["msg"]):
        hint = 'export it as a variable and write "env:NAME"'
    return CutoverError(f"{where}: {place}: {_text_of(problem)}", hint)


def _text_of(problem: Any) -> str:
    if problem["type"] == "tuple_type":
        table = problem["loc"][0]
        of_tables = len(problem["loc"]) == 1 and table in Plan.model_fields
        return f"must be a list of tables: write [[{table}]]" if of_tables else "must be a list, in square brackets"
    return str(problem["msg"]).removeprefix("Value error, ")


def _is_union_branch(part: int | str) -> bool:
    return isinstance(part, str) and ("[" in part or part in {"str", "CloudWatchQuery"})


def _place(location: list[int | str], tables: Mapping[str, Any]) -> str:
    """Write a location as people read a plan: ``[[name]] app.example.com: old``."""
    if not location:
        return "the plan"
    table = str(location[0])
    rest = location[1:]
    value = tables.get(table)
    if isinstance(value, list):
        label = f"[[{table}]]"
        if rest and isinstance(rest[0], int):
            entry = value[rest[0]] if rest[0] < len(value) else None
            named = entry.get("name") or entry.get("table") if isinstance(entry, dict) else None
            label += f" {named}" if isinstance(named, str) else f" number {rest[0] + 1}"
            rest = rest[1:]
    elif isinstance(value, dict) and rest:
        label = f"[{table}]"
    else:
        return f"`{table}`"
    keys = ".".join(str(part) for part in rest)
    return f"{label} `{keys}`" if keys else label


def _known_keys(location: list[int | str]) -> list[str]:
    model: type[BaseModel] = Plan
    for part in location:
        if isinstance(part, int):
            continue
        by_key = {field.alias or name: field for name, field in model.model_fields.items()}
        annotation = by_key[part].annotation if part in by_key else None
        found = _model_in(annotation)
        if found is None:
            return []
        model = found
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"
