"""`python -m deploy.local up|down|status`, which `ovnpay` and the Makefile call."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from deploy.local.home import Home

_EPILOG = """\
environment:
  OVNPAY_HOME            where data, logs and keys are kept (default: .ovnpay in the project)
  OVNPAY_DATABASE_URL    use this PostgreSQL; no embedded one is started
  OVNPAY_REDIS_URL       use this Redis or Valkey; no embedded one is started
  OVNPAY_PAYSTREAM_URL   use this Paystream; no simulated one is started
  OVNPAY_GATEWAY_PORT, PAYSTREAM_SIM_PORT, OVNPAY_POSTGRES_PORT, OVNPAY_VALKEY_PORT,
  OVNPAY_GATEWAY_METRICS_PORT, OVNPAY_WORKERS_METRICS_PORT, OVNPAY_SCHEDULER_METRICS_PORT,
  OVNPAY_EXPORTER_METRICS_PORT
                         a port to use, 0 for any free one
                         (default: 8080, 8090, 15432, 16379, 9101, 9102, 9103, 9104)
Every other OVNPAY_... and PAYSTREAM_SIM_... setting is passed on to the services.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    home = Home.find(os.environ)
    if options.command == "up":
        if options.detach:
            return _up_detached(home)
        from deploy.local.up import up  # each command imports only what it needs

        return up(home, os.environ, detached=options.announce_only)
    if options.command == "down":
        from deploy.local.down import down

        return down(home)
    from deploy.local.status import status

    return status(home, as_json=options.json)


def _up_detached(home: Home) -> int:
    """Start `up` in its own session, copy its output until it is ready, and leave it running."""
    command = [sys.executable, "-m", "deploy.local", "up", "--announce-only"]
    reader, writer = os.pipe()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, start_new_session=True)
    os.close(writer)
    try:
        # The output ends when it is ready (then run.json says so) or has failed.
        while chunk := os.read(reader, 4096):
            os.write(1, chunk)
        while child.poll() is None and not _is_ready(home, child.pid):
            time.sleep(0.02)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
    os.close(reader)
    if child.poll() is None:
        child.returncode = 0  # it keeps running
    return child.returncode


def _is_ready(home: Home, pid: int) -> bool:
    run = home.read_run()
    return bool(run.get("ready")) and run["processes"]["stack"]["pid"] == pid


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    description = "OVN Pay on one machine: embedded servers and the services as supervised processes."
    parser = argparse.ArgumentParser("ovnpay", description=description, epilog=_EPILOG, formatter_class=raw)
    commands = parser.add_subparsers(dest="command", required=True, metavar="up|down|status")
    text = "start the whole system and keep it running; Ctrl-C stops it"
    up = commands.add_parser("up", help=text, description=text, epilog=_EPILOG, formatter_class=raw)
    up.add_argument("-d", "--detach", action="store_true", help="run in the background, return once it is ready")
    up.add_argument("--announce-only", action="store_true", help=argparse.SUPPRESS)
    text = "stop the system, and what a killed run left behind"
    commands.add_parser("down", help=text, description=text)
    text = "show what runs; exit code 0 if all is ready, else 3"
    status = commands.add_parser("status", help=text, description=text)
    status.add_argument("--json", action="store_true", help="for programs")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # nothing to stop yet
        sys.exit(130)
