"""What a command prints: tables for people, or one JSON document; what it is doing meanwhile goes to stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.cli.client.cells import format_money, sanitize_text
from shared.cli.client.errors import CommandError, ExitCode

PIPE_WIDTH_COLUMNS: Final = 200
"""Columns where nobody watches: a file or a pipe, whose lines need not be broken."""
STYLES: Final = {"completed": "green", "failed": "red", "returned": "red", "canceled": "yellow"}


class Output:
    """Stdout has the answer, stderr everything else; with `as_json` stdout has one document and nothing besides."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.progress = _console(sys.stderr)
        self._answer = _console(sys.stderr if as_json else sys.stdout)

    def say(self, sentence: str) -> None:
        """What is being done, or what somebody must know."""
        self.progress.print(Text(f"ovnpay: {sanitize_text(sentence)}"), soft_wrap=True)

    def line(self, sentence: str = "", style: str = "") -> None:
        """A line for people."""
        self._answer.print(Text(sanitize_text(sentence), style=style), soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
        """A table for people; the columns named in `right` hold figures."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(sanitize_text(cell), style=STYLES.get(cell, "")) for cell in row))
        self._answer.print(table)

    def fields(self, pairs: Iterable[tuple[str, str | None]]) -> None:
        """Names and values, one a line; what is None is left out."""
        shown = [(name, value) for name, value in pairs if value is not None]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(f"  {name:{width}}  {value}")

    def document(self, content: Any) -> None:
        """The JSON document."""
        if self.as_json:
            print(json.dumps(content, ensure_ascii=False, indent=2), flush=True)

    def failed(self, stop: CommandError) -> ExitCode:
        """Says why the command ends; returns its exit code."""
        self.say(str(stop))
        self.document({"exitCode": int(stop.exit_code), "error": stop.public()})
        return stop.exit_code


def format_amount(item: dict[str, Any], name: str) -> str:
    """An amount of the API's; a dash where it has none."""
    cents = item.get(name)
    return format_money(cents) if isinstance(cents, int) else "-"


def _console(stream: Any) -> Console:
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH_COLUMNS, highlight=False)
