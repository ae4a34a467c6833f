"""The application, and the services that it opens at startup and closes in order at shutdown."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import msgspec
from aiohttp import web

from gateway.app_state import SERVICES, STOPPING, Services
from gateway.concurrency_limit import ConcurrencyLimit
from gateway.http.credential_cache import CredentialCache
from gateway.http.decoding import BATCH_BYTES_MAX
from gateway.http.envelope import security_headers
from gateway.http.middleware import MIDDLEWARES
from gateway.http.rate_limits import RateLimits
from gateway.intake.payouts import LOCKED_WALLET_THREADS, PayoutIntake
from gateway.intake.provider_webhooks import WebhookIntake
from gateway.openapi.document import build_document
from gateway.routes import ROUTES, add_routes
from shared.operations import startup
from shared.platform.clock import Clock, SystemClock
from shared.platform.database import make_engine
from shared.platform.registered_consumers import GATEWAY_ROLE, Heartbeat
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender

INTAKE_CONNECTIONS = 2 + LOCKED_WALLET_THREADS
"""Database connections for group commits: payouts, payouts of locked wallets, and webhooks. One more connection reads
credentials; the rest of the pool serves all other requests."""
LARGE_BODIES_MAX, LARGE_BODIES_PER_WALLET_MAX = 5, 2
"""Requests with large bodies at once, in all and per wallet: one is processed, the others wait."""
SIGN_INS_MAX, SIGN_INS_PER_ACCOUNT_MAX = 17, 2
"""Sign-ins at once, in all and per account: one password is checked, the others wait."""


@cache
def _encode_document() -> bytes:
    return msgspec.json.encode(build_document(ROUTES))


def create_app(settings: Settings, clock: Clock | None = None) -> web.Application:
    """Create the application. At startup it waits for the database and checks its migrations."""
    application = web.Application(middlewares=MIDDLEWARES, client_max_size=BATCH_BYTES_MAX)
    add_routes(application)
    application[STOPPING] = asyncio.Event()

    async def services(application: web.Application) -> AsyncIterator[None]:
        readers = max(settings.database_pool_size - INTAKE_CONNECTIONS - 1, 1)
        engine = make_engine(settings, "gateway", pool_size=readers)
        reading_engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        intake_engine = make_engine(settings, "gateway-intake", pool_size=INTAKE_CONNECTIONS)
        await asyncio.to_thread(startup.prepare_database, engine, settings)
        key_engine = make_engine(settings, "gateway-keys", pool_size=1, isolation_level="AUTOCOMMIT")
        used = clock or SystemClock()
        task_sender = TaskSender(settings)
        application[SERVICES] = made = Services(
            settings=settings,
            headers=security_headers(settings.environment),
            openapi_document=_encode_document,
            engine=engine,
            task_sender=task_sender,
            clock=used,
            threads=ThreadPoolExecutor(readers, "database"),
            reading_engine=reading_engine,
            key_engine=key_engine,
            key_thread=ThreadPoolExecutor(1, "keys"),
            large_change=asyncio.Semaphore(1),
            large_bodies=ConcurrencyLimit("large requests", LARGE_BODIES_MAX, LARGE_BODIES_PER_WALLET_MAX),
            export=asyncio.Semaphore(1),
            password_thread=ThreadPoolExecutor(1, "passwords"),
            sign_ins=ConcurrencyLimit("sign-ins", SIGN_INS_MAX, SIGN_INS_PER_ACCOUNT_MAX),
            credential_cache=CredentialCache(settings.peppers, used),
            rate_limits=RateLimits(settings),
            payout_intake=PayoutIntake(settings, intake_engine, task_sender, used),
            webhook_intake=WebhookIntake(settings, intake_engine, task_sender, used),
        )
        beat = Heartbeat(settings, lambda: (GATEWAY_ROLE,))
        yield
        await asyncio.to_thread(beat.stop)
        await made.payout_intake.close()
        await made.webhook_intake.close()
        await made.rate_limits.close()
        await asyncio.gather(*made.background_tasks)
        made.threads.shutdown()
        made.key_thread.shutdown()
        made.password_thread.shutdown(cancel_futures=True)
        task_sender.close()
        engine.dispose()
        intake_engine.dispose()
        key_engine.dispose()

    application.cleanup_ctx.append(services)
    return application
