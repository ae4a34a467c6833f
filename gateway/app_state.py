"""State of the application and of a request: each key, with its type."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypeVar

import sqlalchemy as sa
import structlog
from aiohttp import web

from gateway.concurrency_limit import ConcurrencyLimit
from gateway.http.credential_cache import CredentialCache
from gateway.http.rate_limits import RateLimits, RateLimitState
from gateway.intake.group_commit import Overloaded
from gateway.intake.payouts import PayoutIntake
from gateway.intake.provider_webhooks import RejectedWebhooks, WebhookIntake
from shared.holds.reconcile_only import is_reconcile_only
from shared.identity.api_keys import Credential
from shared.identity.sessions import SessionUser
from shared.identity.users import check_password
from shared.platform.clock import Clock
from shared.platform.failpoints import failpoint
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.schema.scenarios import Scenario

logger = structlog.get_logger(__name__)

Result = TypeVar("Result")

RECONCILE_ONLY_CACHE_SECONDS: Final = 1.0


class ReconcileOnlyStatus:
    """Whether the system is reconcile-only, cached for a second.

    A payout accepted in the meantime is written and not sent: workers check the database.
    """

    def __init__(self, read: Callable[[Callable[[sa.Connection], bool]], Awaitable[bool]]) -> None:
        self._read = read
        self._is_on = False
        self._expires_at = 0.0

    async def is_on(self) -> bool:
        """Whether nothing may be sent until our record is compared with the provider's."""
        if time.monotonic() >= self._expires_at:
            # Before the read: one request reads, and the others use the previous value meanwhile.
            self._expires_at = time.monotonic() + RECONCILE_ONLY_CACHE_SECONDS
            self._is_on = await self._read(is_reconcile_only)
        return self._is_on


@dataclass
class Services:
    """What the handlers of a gateway process share: connections, threads and caches."""

    settings: Settings
    engine: sa.Engine
    task_sender: TaskSender
    clock: Clock
    threads: ThreadPoolExecutor
    reading_engine: sa.Engine
    """The same connection pool in autocommit mode, for single reads."""
    key_engine: sa.Engine
    key_thread: ThreadPoolExecutor
    credential_cache: CredentialCache
    rate_limits: RateLimits
    payout_intake: PayoutIntake
    webhook_intake: WebhookIntake
    password_thread: ThreadPoolExecutor
    """Checks one password at a time: a check takes tens of milliseconds of CPU."""
    sign_ins: ConcurrencyLimit
    """Sign-ins that check a password or wait to, by account."""
    large_change: asyncio.Semaphore
    """Admits one change of thousands of rows at a time: each locks its wallet for long, and occupies a thread."""
    large_bodies: ConcurrencyLimit
    """Requests with large bodies, by wallet, from before they are read until the response: each occupies about 15 MB of
    memory while it waits for `large_change`."""
    export: asyncio.Semaphore
    """Admits one CSV file of many rows at a time, to bound memory."""
    headers: Mapping[str, str]
    """Sent with every response."""
    openapi_document: Callable[[], bytes]
    """Encodes the OpenAPI document, once."""
    reconcile_only: ReconcileOnlyStatus = field(init=False)
    rejected_webhooks: RejectedWebhooks = field(default_factory=RejectedWebhooks)
    pending_calls: int = 0
    """Reads and changes that run or wait for a thread."""
    background_tasks: set[asyncio.Task[None]] = field(default_factory=set)
    """Changes that no request waits for; shutdown completes them."""

    def __post_init__(self) -> None:
        self.reconcile_only = ReconcileOnlyStatus(self.read_key)

    @property
    def wake_up_grace(self) -> timedelta:
        """How long a worker has to receive a message before the scheduler enqueues the work again."""
        return timedelta(seconds=self.settings.wake_up_grace_seconds)

    async def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run a read on a database thread, with a connection of its own.

        Raises:
            Overloaded: too many calls wait for a thread.

        """

        def run() -> Result:
            with self.reading_engine.connect() as connection:
                return work(connection)

        return await self._threaded(run)

    async def read_snapshot(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run several reads on one snapshot; raise as `read` does."""

        def run() -> Result:
            engine = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with engine.begin() as connection:
                return work(connection)

        return await self._threaded(run)

    async def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run a change on a database thread, in one transaction; raise as `read` does."""

        def run() -> Result:
            with self.engine.begin() as connection:
                result = work(connection)
                failpoint("change.before_commit")
            failpoint("change.after_commit")
            return result

        return await self._threaded(run)

    def write_in_background(self, work: Callable[[sa.Connection], None]) -> None:
        """Start a change without waiting for it; a failure is logged."""

        async def run() -> None:
            try:
                await self.write(work)
            except Exception:
                logger.exception("background_write.failed")

        task = asyncio.get_running_loop().create_task(run())
        self.background_tasks.add(task)
        task.add_done_callback(self.background_tasks.discard)

    async def read_key(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run a read for authentication or a health check on a thread and connection reserved for these."""

        def run() -> Result:
            with self.key_engine.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self.key_thread, run)

    async def check_password(self, password_hash: str | None, password: str) -> bool:
        """Check a password on the thread reserved for it; a missing hash takes as long and fails."""
        return await asyncio.get_running_loop().run_in_executor(
            self.password_thread, check_password, password_hash, password
        )

    async def _threaded(self, run: Callable[[], Result]) -> Result:
        if self.pending_calls >= self.settings.intake_queue_size:
            raise Overloaded
        self.pending_calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, run)
        finally:
            self.pending_calls -= 1


SERVICES: Final = web.AppKey("services", Services)
STOPPING: Final = web.AppKey("stopping", asyncio.Event)
"""Set when the process begins to drain: long polls respond at once."""

REQUEST_ID: Final = web.RequestKey("request_id", str)
CREDENTIAL: Final = web.RequestKey("credential", Credential)
SCENARIO: Final = web.RequestKey("scenario", Scenario)
SIGNED_IN_USER: Final = web.RequestKey("account", SessionUser)
RATE_LIMIT: Final = web.RequestKey("rate_limit", RateLimitState)
SESSION_TOKEN: Final = web.RequestKey("session_token", str)
