"""Choose a port for each process: the one that the environment names, else the default, else a free one."""

import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Port(NamedTuple):
    """A port's owner, the environment variable that sets it, and its default (outside the ephemeral range)."""

    name: str
    variable: str
    default: int


PORTS = (
    Port("gateway", "OVNPAY_GATEWAY_PORT", 8080),
    Port("paystream", "PAYSTREAM_SIM_PORT", 8090),
    Port("gateway metrics", "OVNPAY_GATEWAY_METRICS_PORT", 9101),
    Port("workers metrics", "OVNPAY_WORKERS_METRICS_PORT", 9102),
    Port("scheduler metrics", "OVNPAY_SCHEDULER_METRICS_PORT", 9103),
    Port("exporter metrics", "OVNPAY_EXPORTER_METRICS_PORT", 9104),
    Port("postgres", "OVNPAY_POSTGRES_PORT", 15432),
    Port("valkey", "OVNPAY_VALKEY_PORT", 16379),
)


class PortError(Exception):
    """A port that the environment names is in use or not a port."""


def choose(wanted: Iterable[Port], environ: Mapping[str, str], host: str) -> tuple[dict[str, int], list[str]]:
    """Return a port for each name, and a sentence for each default in use that a free port replaces.

    A variable set to 0 means any free port.

    Raises:
        PortError: a variable names a port in use, or no port.

    """
    chosen: dict[str, int] = {}
    notes = []
    listeners: list[socket.socket] = []
    try:
        for port in wanted:
            number = _requested(port, environ)
            listener = _listen(host, port.default if number is None else number)
            if listener is None and number is not None:
                raise PortError(f"port {number} ({port.variable}) for {port.name} is taken")
            if listener is None:
                listener = _listen(host, 0)
                if listener is None:
                    raise PortError(f"no free port for {port.name} on {host}")
                notes.append(f"port {port.default} is taken: {port.name} uses {listener.getsockname()[1]}")
            # Open until all are chosen: no port is chosen twice.
            listeners.append(listener)
            chosen[port.name] = listener.getsockname()[1]
    finally:
        for listener in listeners:
            listener.close()
    return chosen, notes


def is_taken(host: str, number: int) -> bool:
    """Whether another process listens on the port."""
    listener = _listen(host, number)
    if listener is not None:
        listener.close()
    return listener is None


def _requested(port: Port, environ: Mapping[str, str]) -> int | None:
    text = environ.get(port.variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise PortError(f"{port.variable} must be a port between 0 and 65535, not {text!r}")
    return int(text)


def _listen(host: str, number: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Like the servers: connections of an earlier run in TIME_WAIT don't make a port taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, number))
        listener.listen(1)
    except OSError:
        listener.close()
        return None
    return listener
