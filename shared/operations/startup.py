"""What every service does before it serves: waits for its database, and says in the log what is not as it should be."""

import sqlalchemy as sa
import structlog

from shared.platform import safeguards
from shared.platform.database import check_session_settings, wait_for_database
from shared.platform.settings import Settings
from shared.platform.settings_validation import production_warnings
from shared.schema import migrations
from shared.schema.migrations.grants import SERVICE_ROLE, modifiable_append_only_tables

logger = structlog.get_logger(__name__)


def prepare_database(engine: sa.Engine, settings: Settings) -> None:
    """Waits until the database answers and is migrated; in production, warns of what a person should mend.

    Raises:
        DatabaseNotReady: it was not in time, or its sessions behind a pooler are not as they should be.

    """
    for safeguard in safeguards.switched_off():
        logger.error("safeguard.off", safeguard=safeguard, hint="this is a test: unset OVNPAY_WITHOUT")
    wait_for_database(engine, revision=migrations.HEAD_REVISION)
    if settings.database_pooler:
        check_session_settings(engine)
    if settings.environment == "production":
        log_setup_warnings(engine, settings)


def log_setup_warnings(engine: sa.Engine, settings: Settings) -> None:
    """Warns of a role that could change the ledger, and of settings in doubt.

    It refuses nothing: the triggers still keep the ledger, and a fleet that a grant keeps from starting pays nobody.
    """
    for doubt in production_warnings(settings):
        logger.warning("settings.doubtful", why=doubt)
    with engine.connect() as connection:
        tables = modifiable_append_only_tables(connection)
    if tables:
        logger.warning(
            "database.role_too_powerful",
            can_change=tables,
            hint=f"set OVNPAY_DATABASE_URL to a login in {SERVICE_ROLE}, OVNPAY_MIGRATION_DATABASE_URL to the owner",
        )
