"""Run the simulator: `python -m deploy.simulator`."""

import asyncio
import logging
import signal
import sys

import structlog
import uvloop

from deploy.simulator.options import Options, read_options
from deploy.simulator.server import Simulator


def _configure_log() -> None:
    on_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if on_terminal else [structlog.processors.format_exc_info]),
            structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


async def _serve(options: Options) -> None:
    log = structlog.get_logger("simulator")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    simulator = Simulator(options)
    url = await simulator.start()
    log.info("simulator.ready", url=url, record=str(options.record or "memory"), webhooks=options.webhook_url)
    await stop.wait()
    await simulator.stop()
    log.info("simulator.stopped")


def main() -> None:
    options = read_options()
    _configure_log()
    try:
        uvloop.run(_serve(options))
    except OSError as error:
        structlog.get_logger("simulator").error("simulator.failed", reason=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
