"""Output: the answer on stdout, progress on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.cli.client.errors import CommandError, ExitCode
from shared.cli.client.formatting import format_money, sanitize_text

PIPE_WIDTH_COLUMNS: Final = 200
"""Width of a file or pipe, wide enough not to break lines."""
STATUS_STYLES: Final = {"completed": "green", "failed": "red", "returned": "red", "canceled": "yellow"}


class Output:
    """With `as_json`, stdout has only one document."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.progress_console = _console(sys.stderr)
        self._answer_console = _console(sys.stderr if as_json else sys.stdout)

    def info(self, sentence: str) -> None:
        """Print progress or a warning to stderr."""
        self.progress_console.print(Text(f"ovnpay: {sanitize_text(sentence)}"), soft_wrap=True)

    def print_line(self, sentence: str = "", style: str = "") -> None:
        """Print a line of the answer."""
        self._answer_console.print(Text(sanitize_text(sentence), style=style), soft_wrap=True)

    def print_table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[str] = ()) -> None:
        """Print a table."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(sanitize_text(cell), style=STATUS_STYLES.get(cell, "")) for cell in row))
        self._answer_console.print(table)

    def print_fields(self, pairs: Iterable[tuple[str, str | None]]) -> None:
        """Print pairs, one a line; a value None omits the pair."""
        fields = [(name, value) for name, value in pairs if value is not None]
        width = max((len(name) for name, _ in fields), default=0)
        for name, value in fields:
            self.print_line(f"  {name:{width}}  {value}")

    def print_json(self, content: Any) -> None:
        """Print the document if `--json` is given."""
        if self.as_json:
            print(json.dumps(content, ensure_ascii=False, indent=2), flush=True)

    def print_error(self, error: CommandError) -> ExitCode:
        """Print an error and return its exit code."""
        self.info(str(error))
        self.print_json({"exitCode": int(error.exit_code), "error": error.to_json()})
        return error.exit_code


def format_amount(item: dict[str, Any], name: str) -> str:
    """Format an amount of an API object; a dash if it has none."""
    cents = item.get(name)
    return format_money(cents) if isinstance(cents, int) else "-"


def _console(stream: Any) -> Console:
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH_COLUMNS, highlight=False)
