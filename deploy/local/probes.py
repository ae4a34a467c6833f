"""Is a process ready to work? One question, asked in the way of each kind of server.

What to ask is a short text, so that it can be written down for `ovnpay status`, which asks again by itself:
`http://…` answers 200, `redis://…` answers a PING, `file:…/postmaster.pid` names the pid and says "ready", and
nothing at all means that a process is ready as soon as it runs.
"""

import socket
from pathlib import Path

_TIMEOUT_SECONDS = 0.25
_LIMIT_BYTES = 65536


def is_ready(probe: str, pid: int) -> bool:
    """Ask once; no answer within a quarter of a second is a no."""
    scheme, _, rest = probe.partition(":")
    if scheme == "http":
        authority, _, path = rest.removeprefix("//").partition("/")
        request = f"GET /{path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
        # To the end: closing on what the server still sends would leave a reset connection in its log.
        return _ask(authority, request, to_the_end=True).partition(b" ")[2].startswith(b"200")
    if scheme == "redis":
        # While it still loads its file it answers -LOADING.
        return _ask(rest.removeprefix("//").partition("/")[0], "PING\r\n").startswith(b"+PONG")
    if scheme == "file":
        return _postmaster_is_ready(Path(rest), pid)
    return True


def _ask(authority: str, request: str, *, to_the_end: bool = False) -> bytes:
    # Sockets and not http.client: that one loads the whole of `email` into a parent that stays resident.
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
    # What pg_ctl reads, without a connection and a password: line 1 is the pid, line 8 the state.
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"
