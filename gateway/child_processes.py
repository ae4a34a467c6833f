"""What a gateway's parent and child processes share: listening sockets, and a channel between them.

A child is a new program, to run the code that is on disk. It inherits the sockets and one end of the channel: through
it the child reports that it serves, and its end of file means that the parent has ended.
"""

import argparse
import socket
from typing import Final, NamedTuple, Self

READY_MESSAGE: Final = b"r"
BACKLOG: Final = 1024


class InheritedSockets(NamedTuple):
    """The file descriptors that a child inherits."""

    channel: int
    listeners: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            channel, *listeners = (int(number) for number in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError("is for the gateway's own use") from None
        return cls(channel, tuple(listeners))

    def __str__(self) -> str:
        return ",".join(map(str, (self.channel, *self.listeners)))


def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Listen on an address, with a socket for each address family.

    Raises:
        OSError: the address is in use, or not local.

    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    opened: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((family, address) for family, *_, address in found):
            opened.append(socket.create_server(address[:2], family=family, backlog=BACKLOG))
            opened[-1].setblocking(False)
    except OSError:
        for one in opened:
            one.close()
        raise
    return opened
