"""Fixtures of the integration tests: a real PostgreSQL, a real Valkey, real commits.

Every test works in wallets of its own, so nothing is rolled back and nothing is shared.
"""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from deploy.local.postgres import EmbeddedPostgres
from deploy.local.valkey import EmbeddedValkey
from gateway.intake.payouts import PayoutIntake
from shared.identity import users
from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.schema import migrations
from tests.support.organization import CHEAP_HASHER
from tests.support.ports import free_port
from tests.support.world import World


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server for the session, which needs no durability."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), free_port(), settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A Valkey server for the session."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey"), free_port()) as server:
        yield server


@pytest.fixture(scope="session")
def settings(postgres: EmbeddedPostgres, valkey: EmbeddedValkey) -> Settings:
    """Settings that point at the session's servers."""
    return Settings(
        database_url=postgres.url,
        redis_url=valkey.url,
        key_pepper="a pepper for tests",
        paystream_url="http://127.0.0.1:9",
        paystream_test_key="psk_test_x",
        paystream_live_key="psk_live_x",
        paystream_webhook_secret="a secret for tests",
        paystream_requests_per_hour=0,
        paystream_funding_per_minute=0,
    )


@pytest.fixture(scope="session")
def engine(settings: Settings) -> Iterator[sa.Engine]:
    """An engine on the migrated database. Passwords are hashed cheaply: the real cost is a quarter second for each."""
    engine = make_engine(settings, "tests", pool_size=20)
    migrations.upgrade_database(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "_HASHER", CHEAP_HASHER)
        yield engine
    engine.dispose()


@pytest.fixture
def empty(settings: Settings, postgres: EmbeddedPostgres) -> Iterator[sa.Engine]:
    """An engine on a new, empty database."""
    url = sa.make_url(postgres.url)
    server = make_engine(settings, "tests", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS empty WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE empty"))
    server.dispose()
    renamed = url.set(database="empty").render_as_string(hide_password=False)
    engine = make_engine(settings, "tests", url=renamed)
    yield engine
    engine.dispose()


@pytest.fixture
def world(engine: sa.Engine) -> World:
    """A new organization with 10,000,000 cents of play money."""
    return World(engine)


@pytest.fixture
def task_sender(settings: Settings) -> Iterator[TaskSender]:
    """A sender that enqueues in the session's Valkey."""
    task_sender = TaskSender(settings)
    yield task_sender
    task_sender.close()


@pytest.fixture
def intake(settings: Settings, world: World, task_sender: TaskSender) -> PayoutIntake:
    """An intake on the session's database."""
    return PayoutIntake(settings, world.engine, task_sender, world.clock)
