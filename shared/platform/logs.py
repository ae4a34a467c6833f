"""Logs: one line an event, JSON for machines and colors for a terminal.

- `error`: a person has to act, or money waits: a payout is on hold, an invariant is violated.
- `warning`: something went wrong and is handled: retried, fenced off, a key rejected. Many are a sign.
- `info`: what happened, one line for a set that was handled together.
- `debug`: only libraries.

The ids have the same names everywhere and connect one payout's path through all services: `request_id`, `payouts`,
`batch`, `wallet`, `submission` (Paystream's idempotency key), `event_id` and `payment` (Paystream's), `message_id` (of
the task queue). A line has at most `LOGGED_IDS_MAX` ids of a kind, and `count` has their number. Never pass personal
data or secrets to a logger.
"""

import logging
import sys
import uuid
from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import structlog

from shared.platform import tracing
from shared.platform.ids import public_id
from shared.platform.masking import mask_secrets
from shared.platform.settings import Settings

LOGGED_IDS_MAX: Final = 50


def public_ids(prefix: str, ids: Iterable[uuid.UUID]) -> list[str]:
    """Format the first `LOGGED_IDS_MAX` ids for a log line."""
    return [public_id(prefix, one) for one in islice(ids, LOGGED_IDS_MAX)]


def configure_logging(settings: Settings, service: str) -> None:
    """Set up logging for this process; libraries log the same way."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]

    def add_process_fields(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        # Not a context variable: new threads start without the context, and most of our work runs in threads.
        event.setdefault("service", service)
        if parent := tracing.current_traceparent():
            event.setdefault("trace_id", parent.split("-")[1])
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_process_fields,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Not the default traceback of a terminal: it shows local variables, keys and bodies among them.
    pretty = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer = pretty if console else structlog.processors.JSONRenderer()
    final = [structlog.processors.format_exc_info] if not console else []
    structlog.configure(
        processors=[*shared, *final, renderer, _mask],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final, renderer, _mask],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("apscheduler", "alembic.runtime", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))


def _mask(logger: Any, method: str, line: Any) -> str:
    return mask_secrets(line)
