"""Health check for Docker: `python -m shared.platform.healthcheck 8080/health/ready` asks a process of this container.

The image has no curl. It imports nothing of ours, because it runs every few seconds. Exit codes: 0 healthy, 1 not
healthy, 2 wrong usage.
"""

import http.client
import sys

TIMEOUT_SECONDS = 3.0


def main(arguments: list[str]) -> int:
    """Request `PORT/PATH` on this machine; return the exit code."""
    if len(arguments) != 1 or not arguments[0].partition("/")[0].isdigit():
        print("usage: python -m shared.platform.healthcheck PORT/PATH", file=sys.stderr)
        return 2
    port, _, path = arguments[0].partition("/")
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        body = answer.read(500).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {port}: {error!r}")
        return 1
    finally:
        connection.close()
    print(body)
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
