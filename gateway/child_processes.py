"""What a gateway's parent and its children have to tell each other: the sockets they share, who serves, who is gone.

A child is a program of its own, so that it is always made of the code that lies on the disk now. It inherits the
listening sockets and one end of a line: on it the child says that it serves, and the line's end says that the parent is
no more, whatever it died of.
"""

import argparse
import socket
from typing import Final, NamedTuple, Self

READY_MESSAGE: Final = b"r"
BACKLOG: Final = 1024


class InheritedSockets(NamedTuple):
    """What a child inherits, as file descriptors."""

    line: int
    listeners: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads what `str` wrote."""
        try:
            line, *listeners = (int(number) for number in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError("is for the gateway's own use") from None
        return cls(line, tuple(listeners))

    def __str__(self) -> str:
        return ",".join(map(str, (self.line, *self.listeners)))


def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on an address, one for each of its families.

    Raises:
        OSError: it is taken, or not ours.

    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, *_, address in found):
            made.append(socket.create_server(address[:2], family=family, backlog=BACKLOG))
            made[-1].setblocking(False)
    except OSError:
        for one in made:
            one.close()
        raise
    return made
