"""What every service does at startup: wait for its database, and log what weakens the installation."""

import sqlalchemy as sa
import structlog

from shared.platform.database import check_session_settings, wait_for_database
from shared.platform.settings import Settings
from shared.platform.settings_validation import production_warnings
from shared.schema import migrations
from shared.schema.migrations.grants import SERVICE_ROLE, modifiable_append_only_tables

logger = structlog.get_logger(__name__)


def prepare_database(engine: sa.Engine, settings: Settings) -> None:
    """Wait until the database answers and is migrated; in production, log weak settings.

    Raises:
        DatabaseNotReady: it was not ready in time, or a pooler changes session settings.

    """
    wait_for_database(engine, revision=migrations.HEAD_REVISION)
    if settings.database_pooler:
        check_session_settings(engine)
    if settings.environment == "production":
        log_setup_warnings(engine, settings)


def log_setup_warnings(engine: sa.Engine, settings: Settings) -> None:
    """Log weak settings, and a role that can modify the ledger.

    Only warns: triggers still protect the ledger, and a fleet that refuses to start pays no driver.
    """
    for warning in production_warnings(settings):
        logger.warning("settings.doubtful", why=warning)
    with engine.connect() as connection:
        tables = modifiable_append_only_tables(connection)
    if tables:
        logger.warning(
            "database.role_too_powerful",
            can_change=tables,
            hint=f"set OVNPAY_DATABASE_URL to a login in {SERVICE_ROLE}, OVNPAY_MIGRATION_DATABASE_URL to the owner",
        )
