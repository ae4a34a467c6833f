"""A stand-in for a service: answers GET /health and records its start and stop.

    python stand_in_service.py NAME PORT JOURNAL

Each line of the journal is "NAME EVENT". The stand-in of a job prints what it was given instead of serving.
"""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import FrameType


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main(name: str, port: int, journal: str) -> None:
    def note(event: str) -> None:
        with open(journal, "a") as file:
            file.write(f"{name} {event}\n")

    def leave(number: int, frame: FrameType | None) -> None:
        note("stopped")
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    if name in os.environ.get("STAND_IN_STUBBORN", ""):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if name in os.environ.get("STAND_IN_BROKEN", ""):
        sys.exit("the stand-in breaks")
    note("started")
    with HTTPServer(("127.0.0.1", port), Health) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
