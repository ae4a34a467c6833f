"""Finds the replies to COMMIT in what a Postgres server sends."""

from collections.abc import Callable
from typing import Final

_REQUESTS_FOR_A_LETTER: Final = frozenset({(80877103).to_bytes(4), (80877104).to_bytes(4)})
"""Requests for TLS and GSS encryption, before the startup message; the answer is one letter without a length."""
_HEADER: Final = 5
_COMMAND_COMPLETE: Final = ord("C")
_COMMIT: Final = b"COMMIT\0"


class ServerReplies:
    """The server's side of one connection."""

    def __init__(self, loses: Callable[[], bool]) -> None:
        """`loses` is called for each reply to a COMMIT and returns whether to drop it."""
        self._loses = loses
        self._started = False
        self._letters = 0
        self._left = 0
        """Remaining bytes of the current message, which need no inspection."""
        self._buffered = b""

    def observe_request(self, chunk: bytes) -> None:
        """Observe what the client sends; only its first messages matter."""
        if not self._started:
            letter = len(chunk) == 8 and chunk[4:] in _REQUESTS_FOR_A_LETTER
            self._letters += letter
            self._started = not letter

    def feed(self, chunk: bytes) -> tuple[bytes, bool]:
        """Return the bytes to pass on, buffered ones included, and whether to reset the connection instead of passing
        the reply to a COMMIT.
        """
        data, place = self._buffered + chunk, 0
        while place < len(data):
            if self._letters:
                place, self._letters = place + 1, self._letters - 1
                continue
            if self._left:
                step = min(self._left, len(data) - place)
                place, self._left = place + step, self._left - step
                continue
            if len(data) - place < _HEADER:
                break
            size = 1 + int.from_bytes(data[place + 1 : place + _HEADER])
            if data[place] != _COMMAND_COMPLETE:
                self._left = size
                continue
            if len(data) - place < size:
                break
            if data[place + _HEADER : place + size] == _COMMIT and self._loses():
                return data[:place], True
            place += size
        self._buffered = data[place:]
        return data[:place], False
