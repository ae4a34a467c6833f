"""TCP ports for processes that a test starts."""

import random
import socket
from typing import Final

_EPHEMERAL_BEGIN: Final = 32_768
"""From here on Linux gives ports to outgoing connections, even one that was free a moment ago."""
_BEGIN: Final = 20_000
_random = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that no process listens on, below those of outgoing connections."""
    return free_ports(1, host)[0]


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """As many different ones."""
    found: list[int] = []
    for number in _random.sample(range(_BEGIN, _EPHEMERAL_BEGIN), 1_000):
        if len(found) == count:
            return found
        with socket.socket() as probe:
            try:
                probe.bind((host, number))
            except OSError:
                continue
        found.append(number)
    raise AssertionError(f"of 1,000 ports not even {count} are free")
