"""Finds the ``cutover`` commands that documents and the code's own hints name, and parses them as the CLI would."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import typer

from cutover.cli import app

ROOT = Path(__file__).parents[2]
COMMANDS = typer.main.get_command(app)
_FENCE = re.compile(r"^ *```([a-z]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(`+)([^`\n]+)\1")
_SHELL = {"", "sh", "bash", "console"}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return [body for name, body in _FENCE.findall(text) if name == language]


def in_markdown(text: str) -> Iterator[tuple[str, bool]]:
    """Every command that calls ``cutover``; whether it is there to be pasted (a fenced block) or only named."""
    for language, body in _FENCE.findall(text):
        if language in _SHELL:
            yield from ((line, True) for line in in_shell(body))
    for _, span in _SPAN.findall(_FENCE.sub("", text)):
        yield from ((line, False) for line in in_shell(span))


def in_shell(text: str) -> Iterator[str]:
    """Every simple command that calls ``cutover`` in lines of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        plain = re.sub(r"(^|\s)#.*", "", line).strip().removeprefix("$ ").removeprefix("run: ")
        for part in re.split(r"&&|\|\||[|;]", plain):
            words = part.strip().removeprefix("- ").strip()
            words = re.sub(r"^(?:if |! )+", "", words)
            if re.match(r"(?:\S*/)?cutover\s+[a-z]", words):
                yield words


def in_python(source: str) -> Iterator[tuple[str, bool]]:
    """Every command in string literals; whether it is surely meant as one (in backticks, or as an error's hint)."""
    tree = ast.parse(source)
    hints = {
        id(argument)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "CutoverError"
        for argument in call.args
    }
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(x.value) if isinstance(x, ast.Constant) else "{}" for x in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            text = node.value
        else:
            continue
        for _, span in _SPAN.findall(text):
            for command in in_shell(span):
                yield command, True
        if id(node) in hints and re.match(r"cutover [a-z]", text):
            yield text, True
        for found in re.findall(r"\bcutover [a-z]+(?: +-{1,2}[a-z-]+)*", _SPAN.sub("", text)):
            yield found, False


def parse(line: str) -> None:
    """Parse a command line as the CLI would; raises what the CLI would say."""
    words = shlex.split(line.replace("{}", "X"))[1:]
    name, rest = words[0], words[1:]
    if name not in COMMANDS.commands:  # type: ignore[attr-defined]
        raise LookupError(f"there is no `cutover {name}`")
    COMMANDS.commands[name].make_context(name, rest)  # type: ignore[attr-defined]


def unknown_in(line: str, *, surely: bool) -> str:
    """Say what a command line names that does not exist, "" when all of it does; its values are not looked at.

    Args:
        line: ``cutover`` and what follows.
        surely: a word that is no command is then wrong too, and not just prose.
    """
    name, *rest = re.split(r" [(]|: ", line)[0].replace(",", " ").split()[1:]
    if name not in COMMANDS.commands:  # type: ignore[attr-defined]
        return f"there is no `cutover {name}`" if surely else ""
    command = COMMANDS.commands[name]  # type: ignore[attr-defined]
    known = {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}
    missing = [word for word in rest if word.startswith("-") and word not in known | {"--help", "-h"}]
    return f"`cutover {name}` has no {missing[0]}" if missing else ""
