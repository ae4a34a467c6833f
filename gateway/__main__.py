"""`python -m gateway`: serves the API until it is told to stop, then finishes what it has."""

import argparse
import asyncio
import signal
import sys

import structlog
import uvloop
from aiohttp import web
from prometheus_client import REGISTRY

from gateway.app import create
from gateway.headers import for_environment
from gateway.server import Runner
from shared import log, tracing
from shared.exposition import Exposition
from shared.settings import Settings, SettingsError, load

logger = structlog.get_logger(__name__)

KEEPALIVE_SECONDS = 30.0
SHUTDOWN_SECONDS = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="ovnpay gateway", description="Serve the HTTP API.")
    parser.parse_args(arguments)
    try:
        settings = load()
    except SettingsError as error:
        print(f"ovnpay gateway: {error}", file=sys.stderr)
        return 2
    log.configure(settings, "gateway")
    tracing.start("gateway")
    uvloop.run(serve(settings))
    return 0


async def serve(settings: Settings) -> None:
    """Serves on the configured address."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    runner = Runner(
        create(settings),
        headers=for_environment(settings.environment),
        access_log=None,
        auto_decompress=False,  # a compressed body is refused, not opened
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    site = web.TCPSite(runner, settings.gateway_host, settings.gateway_port, backlog=1024)
    await site.start()
    exposition = Exposition(settings.gateway_metrics_port, lambda: REGISTRY, lambda: None, host=settings.metrics_host)
    exposition.start()
    logger.info("gateway.started", host=settings.gateway_host, port=settings.gateway_port)
    await stopping.wait()
    logger.info("gateway.stopping")
    await runner.cleanup()
    exposition.stop()


if __name__ == "__main__":
    sys.exit(main())
