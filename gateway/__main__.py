"""`python -m gateway`: serve the API until stopped, in this process or in several that share a socket."""

import argparse
import os
import sys

import msgspec

from gateway.child_processes import InheritedSockets
from shared.platform import logs, tracing
from shared.platform.settings import Settings, SettingsError
from shared.platform.settings_loading import load_settings

_EPILOG = """\
signals:
  TERM, INT  accept no more connections, complete the requests in progress, and exit within ten seconds
  HUP        with several processes: replace them one by one with new ones that load the current code and setting
             files; the socket stays open. With one process: same as TERM

Each process opens up to OVNPAY_DATABASE_POOL_SIZE database connections (10).
"""


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="ovnpay gateway",
        description="Serve the HTTP API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--processes", type=int, help="processes that serve (default: OVNPAY_GATEWAY_PROCESSES, 1)")
    parser.add_argument("--host", help="address to listen on (default: OVNPAY_GATEWAY_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default: OVNPAY_GATEWAY_PORT, 8080)")
    parser.add_argument("--child", type=InheritedSockets.parse, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        settings = _with(options, load_settings())
    except SettingsError as error:
        print(f"ovnpay gateway: {error}", file=sys.stderr)
        return 2
    if settings.gateway_processes < 1:
        parser.error("processes must be positive")
    logs.configure_logging(settings, "gateway")
    if options.child is None and settings.gateway_processes > 1:
        from gateway.parent_process import ParentProcess

        return ParentProcess(settings).run()
    tracing.start_tracing("gateway")
    from gateway.serve import serve_until_stopped

    return serve_until_stopped(settings, options.child)


def _with(options: argparse.Namespace, settings: Settings) -> Settings:
    given = {"gateway_processes": options.processes, "gateway_host": options.host, "gateway_port": options.port}
    return msgspec.structs.replace(settings, **{name: value for name, value in given.items() if value is not None})


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # everything is closed, and finalizing the interpreter takes longer than draining
