"""Probe whether a process is ready.

A probe is a text, stored in run.json for `ovnpay status`: `http://…` must answer 200, `redis://…` a PING,
`file:…/postmaster.pid` must name the pid and say "ready". An empty probe means ready as soon as it runs.
"""

import socket
from pathlib import Path

_TIMEOUT_SECONDS = 0.25
_LIMIT_BYTES = 65536


def is_ready(probe: str, pid: int) -> bool:
    """Probe once; no answer within 0.25 s means not ready."""
    scheme, _, rest = probe.partition(":")
    if scheme == "http":
        authority, _, path = rest.removeprefix("//").partition("/")
        request = f"GET /{path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
        # Read to the end: closing earlier resets the connection, and the server logs it.
        return _ask(authority, request, to_the_end=True).partition(b" ")[2].startswith(b"200")
    if scheme == "redis":
        # It answers -LOADING while it reads its file.
        return _ask(rest.removeprefix("//").partition("/")[0], "PING\r\n").startswith(b"+PONG")
    if scheme == "file":
        return _postmaster_is_ready(Path(rest), pid)
    return True


def _ask(authority: str, request: str, *, to_the_end: bool = False) -> bytes:
    # Not http.client, which would load `email` into the resident parent.
    host, _, port = authority.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_SECONDS) as connection:
            connection.sendall(request.encode())
            answer = chunk = connection.recv(4096)
            while to_the_end and chunk and len(answer) < _LIMIT_BYTES:
                chunk = connection.recv(4096)
                answer += chunk
            return answer
    except OSError:
        return b""


def _postmaster_is_ready(path: Path, pid: int) -> bool:
    # As pg_ctl does, without a connection: line 1 is the pid, line 8 the state.
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
