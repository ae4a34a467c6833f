"""What handlers find in the application and the request: every key, with its type, in this file."""

import asyncio
from collections.abc import Callable, Mapping
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
from gateway.intake.provider_webhooks import WebhookIntake
from gateway.intake.rejected_webhooks import RejectedWebhooks
from gateway.outgoing_money import ReconcileOnlyStatus
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


@dataclass
class Services:
    """A gateway process's connections to the world."""

    settings: Settings
    engine: sa.Engine
    task_sender: TaskSender
    clock: Clock
    threads: ThreadPoolExecutor
    reading_engine: sa.Engine
    """The same pool, without transactions around single reads."""
    key_engine: sa.Engine
    key_thread: ThreadPoolExecutor
    credential_cache: CredentialCache
    rate_limits: RateLimits
    payout_intake: PayoutIntake
    webhook_intake: WebhookIntake
    password_thread: ThreadPoolExecutor
    """Checks passwords, one at a time: each takes a core for tens of milliseconds."""
    sign_ins: ConcurrencyLimit
    """Sign-ins whose passwords are checked or wait for it, by account."""
    large: asyncio.Semaphore
    """Held by changes of thousands of rows, which hold a wallet's lock for long: one at a time, so that others get
    their turn between them, and threads stay free."""
    large_bodies: ConcurrencyLimit
    """Requests of thousands of items, by wallet, from before they are read until they are answered: each takes about
    15 MB of memory while it waits for `large`."""
    exports: asyncio.Semaphore
    """Held while a file of many rows is made: one at a time, so that no more of them is in memory."""
    headers: Mapping[str, str]
    """What every answer carries."""
    departures: ReconcileOnlyStatus = field(init=False)
    rejected_webhooks: RejectedWebhooks = field(default_factory=RejectedWebhooks)
    under_way: int = 0
    """Reads and changes that run or wait for a thread."""
    beside: set[asyncio.Task[None]] = field(default_factory=set)
    """Changes that no request waits for; they are finished before the process ends."""

    def __post_init__(self) -> None:
        self.departures = ReconcileOnlyStatus(self.read_key)

    async def stopped(self) -> bool:
        """Whether payments are stopped, and nothing may be promised."""
        return await self.departures.stopped()

    @property
    def grace(self) -> timedelta:
        """How long a doorbell has to be heard before the tick rings again."""
        return timedelta(seconds=self.settings.wake_up_grace_seconds)

    async def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Runs a read off the event loop, on a connection of its own.

        Raises:
            Overloaded: too many wait already.

        """

        def run() -> Result:
            with self.reading_engine.connect() as connection:
                return work(connection)

        return await self._threaded(run)

    async def read_snapshot(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Runs several reads that see the same moment; raises as `read` does."""

        def run() -> Result:
            engine = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with engine.begin() as connection:
                return work(connection)

        return await self._threaded(run)

    async def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Runs a change off the event loop, in one transaction; raises as `read` does."""

        def run() -> Result:
            with self.engine.begin() as connection:
                result = work(connection)
                failpoint("change.before_commit")
            failpoint("change.after_commit")
            return result

        return await self._threaded(run)

    def write_in_background(self, work: Callable[[sa.Connection], None]) -> None:
        """Runs a change that no request waits for; should it fail, the log says so."""

        async def run() -> None:
            try:
                await self.write(work)
            except Exception:
                logger.exception("write_beside.failed")

        task = asyncio.get_running_loop().create_task(run())
        self.beside.add(task)
        task.add_done_callback(self.beside.discard)

    async def read_key(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Looks a key up, or asks for a sign of life, on a thread and a connection that other reads can't occupy."""

        def run() -> Result:
            with self.key_engine.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self.key_thread, run)

    async def check_password(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is the right one, found out off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(
            self.password_thread, check_password, password_hash, password
        )

    async def _threaded(self, run: Callable[[], Result]) -> Result:
        if self.under_way >= self.settings.intake_queue_size:
            raise Overloaded
        self.under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, run)
        finally:
            self.under_way -= 1


SERVICES: Final = web.AppKey("services", Services)
STOPPING: Final = web.AppKey("stopping", asyncio.Event)
"""Set when the process begins to drain: who waits for something to happen answers now."""

REQUEST_ID: Final = web.RequestKey("request_id", str)
CREDENTIAL: Final = web.RequestKey("credential", Credential)
SCENARIO: Final = web.RequestKey("scenario", Scenario)
SIGNED_IN_USER: Final = web.RequestKey("account", SessionUser)
RATE_LIMIT: Final = web.RequestKey("rate_limit", RateLimitState)
SESSION_TOKEN: Final = web.RequestKey("session_token", str)
