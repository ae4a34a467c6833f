"""A serving process, from its first connection to its last response."""

import asyncio
import signal
import socket
import sys
import time
from contextlib import ExitStack
from typing import Final

import structlog
import uvloop
from aiohttp import web
from prometheus_client import REGISTRY

from gateway.app import create_app
from gateway.app_state import STOPPING
from gateway.child_processes import READY_MESSAGE, InheritedSockets, open_listeners
from gateway.http.envelope import security_headers
from gateway.http.server import ApiRunner
from shared.platform import process_memory
from shared.platform.database import DatabaseNotReady
from shared.platform.metrics_server import MetricsServer
from shared.platform.settings import Settings

logger = structlog.get_logger(__name__)

KEEPALIVE_SECONDS: Final = 30.0
IDLE_DRAIN_SECONDS: Final = 2.0
"""How long a draining process keeps idle connections open. A client that sends within this time gets a response with
`Connection: close`; only a client that sends just after it finds the connection closed."""
DRAIN_SECONDS_MAX: Final = 8.0
"""How long a draining process waits for its responses; process managers kill after ten seconds."""
SHUTDOWN_SECONDS_MAX: Final = 1.0


def serve_until_stopped(settings: Settings, child: InheritedSockets | None) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit code. A `child` serves on inherited sockets."""
    try:
        uvloop.run(_serve(settings, child))
    except DatabaseNotReady as error:
        print(f"ovnpay gateway: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings, child: InheritedSockets | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP: keep that
            loop.add_signal_handler(number, stopping.set)
    application = create_app(settings)
    runner = ApiRunner(
        application,
        headers=security_headers(settings.environment),
        access_log=None,
        auto_decompress=False,  # compressed bodies are rejected, not decompressed
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS_MAX,
    )
    await runner.setup()
    with ExitStack() as stack:
        if child is None:
            sockets = open_listeners(settings.gateway_host, settings.gateway_port)
            exposition = MetricsServer(
                settings.gateway_metrics_port, lambda: REGISTRY, lambda: None, host=settings.metrics_host
            )
            exposition.start()
            stack.callback(exposition.stop)
        else:
            sockets = [socket.socket(fileno=number) for number in child.listeners]
        sites = [web.SockSite(runner, one, backlog=1024) for one in sockets]
        process_memory.reduce_garbage_collection()
        for site in sites:
            await site.start()
        if child is not None:
            channel = stack.enter_context(socket.socket(fileno=child.channel))
            channel.setblocking(False)
            loop.add_reader(channel.fileno(), _stop_without_parent, channel, stopping)
            channel.send(READY_MESSAGE)
        logger.info("gateway.started", host=settings.gateway_host, port=settings.gateway_port)
        await stopping.wait()
        logger.info("gateway.stopping")
        application[STOPPING].set()
        await _drain(runner, sites)
        await runner.cleanup()


def _stop_without_parent(channel: socket.socket, stopping: asyncio.Event) -> None:
    if not channel.recv(1):  # closed: the parent has ended
        asyncio.get_running_loop().remove_reader(channel.fileno())
        stopping.set()


async def _drain(runner: ApiRunner, sites: list[web.SockSite]) -> None:
    """Accept no more connections, close each with its next response, and close idle ones after a while."""
    for _ in range(2):
        await asyncio.sleep(0)  # a round of the loop accepts the connections that are already in the backlog
    for site in sites:
        await site.stop()
    server = runner.api_server
    server.closes_connections = True
    started = time.monotonic()
    while server.connections and time.monotonic() < started + DRAIN_SECONDS_MAX:
        if time.monotonic() > started + IDLE_DRAIN_SECONDS:
            server.close_idle_connections()
        await asyncio.sleep(0.02)
    if server.connections:
        logger.warning("gateway.answers_cut", connections=len(server.connections))
