"""What the developer sees: plain lines, a little colour on a terminal, and a copy in stack.log."""

import contextlib
import os
import sys
import time
from pathlib import Path

from deploy.local.server import open_log

_STYLES = {"good": "32", "bad": "31", "strong": "1", "quiet": "2"}


class Terminal:
    """Lines of the parent. A terminal that was closed ends the printing, never the stack.

    No rich here: its import takes 70 ms and 5 MB in a process that prints twenty lines and stays resident.
    """

    def __init__(self, log_path: Path | None = None) -> None:
        self._log = open_log(log_path) if log_path else None
        self._started_at = time.monotonic()
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def step(self, text: str, style: str = "") -> None:
        """A line of progress, with the seconds since the start."""
        self.line(f"{self.elapsed_seconds():5.1f} s  {text}", style)

    def line(self, text: str = "", style: str = "", *, is_logged: bool = True) -> None:
        """A line as it is; one with a key in it is not logged."""
        if self._log and is_logged:
            with contextlib.suppress(OSError):
                self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())
        code = _STYLES.get(style) if self._coloured else None
        try:
            print(f"\x1b[{code}m{text}\x1b[0m" if code else text, flush=True)
        except OSError:
            self.stop_printing()

    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._started_at

    def stop_printing(self) -> None:
        """From now on only to the log: the terminal is gone, or whoever waited for us has been told."""
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2((self._log or nowhere).fileno(), 2)  # a traceback of ours still has a reader there
        self._coloured = False
