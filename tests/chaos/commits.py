"""Which bytes of a Postgres server say that a COMMIT is done? Enough of its protocol to find them."""

from collections.abc import Callable
from typing import Final

_REQUESTS_FOR_A_LETTER: Final = frozenset({(80877103).to_bytes(4), (80877104).to_bytes(4)})
"""Of TLS and of GSS encryption: before the startup message, answered by a single letter without a length."""
_HEADER: Final = 5
_COMMAND_COMPLETE: Final = ord("C")
_COMMIT: Final = b"COMMIT\0"


class Replies:
    """A server's side of one connection, fed as it comes."""

    def __init__(self, loses: Callable[[], bool]) -> None:
        """`loses` is asked at each reply to a COMMIT, whether the client is not to hear it."""
        self._loses = loses
        self._started = False
        self._letters = 0
        self._left = 0
        """Bytes of the message under way that may go on unseen."""
        self._held = b""

    def asked(self, chunk: bytes) -> None:
        """What the client says; only its beginning matters."""
        if not self._started:
            letter = len(chunk) == 8 and chunk[4:] in _REQUESTS_FOR_A_LETTER
            self._letters += letter
            self._started = not letter

    def feed(self, chunk: bytes) -> tuple[bytes, bool]:
        """What may be passed on of this chunk and what was held back before it; and whether the connection has to end
        there, for a COMMIT's reply comes next.
        """
        data, place = self._held + chunk, 0
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
        self._held = data[place:]
        return data[:place], False
