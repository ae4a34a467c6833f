"""Logs: one line an event, JSON for machines and colours for a terminal.

What a level means, and who reads it:

- `error`: a person has to do something, or money waits: a payout is held, a law of the ledger is broken.
- `warning`: something went another way than it should and is taken care of: asked again, fenced off, a key refused. One
  is nothing; many are a sign.
- `info`: what happened to whom, one line for a set that was handled together: accepted, queued, submitted, answered,
  told. By their ids these lines join one payout's way through all services.
- `debug`: nothing of ours; what libraries have to say.

The ids have the same names everywhere: `request_id` (the answer's `X-Request-Id`), `payouts` (`pay_…`), `batch`,
`wallet`, `submission` (`sub_…`, which Paystream gets as idempotency key), `event_id` and `payment` (Paystream's),
`message_id` (one doorbell that a worker heard; bound to every line until it is done). A line has at most
`LOGGED_IDS_MAX`
ids of a kind, and `count` says how many there were: at a thousand payouts a second the log must not be what takes the
time. The whole story of any one payout is its timeline, in the database. Personal data and secrets are never given to
a logger.
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
    """Ids as a line shows them: in their public form, the first `LOGGED_IDS_MAX`."""
    return [public_id(prefix, one) for one in islice(ids, LOGGED_IDS_MAX)]


def configure_logging(settings: Settings, service: str) -> None:
    """Sets up logging for this process; library logs go the same way."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]

    def named(logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        # Not a context variable: threads, which most of our work is done in, begin without those.
        event.setdefault("service", service)
        if parent := tracing.current_traceparent():
            event.setdefault("trace_id", parent.split("-")[1])
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        named,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Not the default traceback of a terminal: that one shows every local variable, keys and bodies among them.
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
    """The finished line without what looks like a secret."""
    return mask_secrets(line)
