"""Which port does each process listen on? The default, unless it is taken; or what the developer says."""

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
    """A port that the developer asked for by name can't be had."""


def choose(wanted: Iterable[Port], environ: Mapping[str, str], host: str) -> tuple[dict[str, int], list[str]]:
    """A port for each name, and a sentence for each default that was taken and replaced by a free one.

    A variable set to 0 means any free port. Raises PortError for one that is set to a taken port or to nonsense.
    """
    chosen: dict[str, int] = {}
    notes = []
    held: list[socket.socket] = []
    try:
        for port in wanted:
            number = _asked_for(port, environ)
            listener = _listen(host, port.default if number is None else number)
            if listener is None and number is not None:
                raise PortError(f"port {number} ({port.variable}) for {port.name} is taken")
            if listener is None:
                listener = _listen(host, 0)
                if listener is None:
                    raise PortError(f"no free port for {port.name} on {host}")
                notes.append(f"port {port.default} is taken: {port.name} uses {listener.getsockname()[1]}")
            # Held until all are chosen, so that no port is given out twice.
            held.append(listener)
            chosen[port.name] = listener.getsockname()[1]
    finally:
        for listener in held:
            listener.close()
    return chosen, notes


def _asked_for(port: Port, environ: Mapping[str, str]) -> int | None:
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
        # As the servers do: connections of an earlier run that still linger in TIME_WAIT don't count as taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, number))
        listener.listen(1)
    except OSError:
        listener.close()
        return None
    return listener
