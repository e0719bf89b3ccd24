"""Runbooks on a terminal: headings to the left, commands without a frame, so that they can be marked and pasted."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.text import Text
from rich.theme import Theme

from cutover.output import Output, plain_stdout

_WIDTH = 100
_THEME = Theme({"markdown.code": "cyan", "markdown.h2": "bold", "markdown.h3": "bold"})


class _LeftHeading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        if self.tag != "h1":
            yield Text("")
        self.text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield self.text


class _PlainCode(CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in str(self.text).rstrip().splitlines():
            # a wrapped command would be pasted as two: the terminal itself breaks what is too long
            yield Text(f"    {line}", style="cyan", no_wrap=True, overflow="ignore")


class _Page(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
        "fence": _PlainCode,
        "code_block": _PlainCode,
    }


def print_markdown(text: str, output: Output) -> None:
    """Draw Markdown on the terminal, at most 100 columns wide."""
    console = Console(file=plain_stdout(), no_color=not output.colour, highlight=False, theme=_THEME)
    console.print(_Page(text, hyperlinks=False), width=min(console.width, _WIDTH), crop=False)
