"""Print lines for the developer, colored on a terminal, and copy them to stack.log."""

import contextlib
import os
import sys
import time
from pathlib import Path

from deploy.local.server import open_log

_STYLES = {"good": "32", "bad": "31", "strong": "1", "quiet": "2"}


class Terminal:
    """The parent's output. A closed terminal ends the printing, never the stack.

    Without rich, whose import costs 70 ms and 5 MB in a resident process.
    """

    def __init__(self, log_path: Path | None = None) -> None:
        self._log = open_log(log_path) if log_path else None
        self._started_at = time.monotonic()
        self._is_colored = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def step(self, text: str, style: str = "") -> None:
        """Print progress with the seconds since the start."""
        self.line(f"{self.elapsed_seconds():5.1f} s  {text}", style)

    def line(self, text: str = "", style: str = "", *, is_logged: bool = True) -> None:
        """Print a line; `is_logged=False` for lines with a key."""
        if self._log and is_logged:
            with contextlib.suppress(OSError):
                self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())
        code = _STYLES.get(style) if self._is_colored else None
        try:
            print(f"\x1b[{code}m{text}\x1b[0m" if code else text, flush=True)
        except OSError:
            self.stop_printing()

    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started_at

    def stop_printing(self) -> None:
        """Write to the log only: the terminal is closed, or the reader waits for the end of the output."""
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2((self._log or nowhere).fileno(), 2)  # tracebacks go to the log
        self._is_colored = False
