"""Database identity: detect a restored backup, that lacks payouts paid and keys used since.

Verified before anything is sent, whenever the server restarted or the row of `installation` was copied:

- the row stores cluster, timeline and database, that differ after a point-in-time recovery or failover;
- the row stores the transaction that wrote it; a restored dump writes it in another one;
- the newest payments of the provider carry our ids; only this detects files that were copied back in place.
"""

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
import structlog

from shared.controls.reconciliation import provider_pages
from shared.controls.reconciliation.provider_pages import ProviderRecordUnavailable
from shared.controls.reconciliation.provider_payments import ProviderPayment
from shared.controls.reconciliation.reconciler import Reconciler
from shared.holds.reconcile_only import SAME_DATABASE_IDENTITY, OutboundGuard, load_outbound_guard
from shared.identity import audit
from shared.identity.audit import Entry
from shared.platform.errors import Conflict
from shared.schema.audit import Action

logger = structlog.get_logger(__name__)

DEFAULT_LOOKBACK: Final = timedelta(days=90)
"""How far back the provider's record is compared if the age of the backup is unknown."""

RESEND_SAFE_FOR: Final = timedelta(hours=20)
"""A younger request can be sent again under its key without paying twice."""

_WRITTEN: Final = "CAST(CAST(pg_current_xact_id() AS text) AS numeric) % 4294967296"
_IDENTITY: Final = """
    SELECT CAST((SELECT system_identifier FROM pg_control_system()) AS text),
           (SELECT timeline_id FROM pg_control_checkpoint()),
           (SELECT CAST(oid AS bigint) FROM pg_database WHERE datname = current_database())
"""

# The one row of the installation, without a confirmed identity.
_INSERT_INSTALLATION: Final = sa.text(
    f"INSERT INTO installation (id, written_by) VALUES (1, {_WRITTEN}) ON CONFLICT DO NOTHING"
)


def create_installation_row(engine: sa.Engine) -> None:
    """Create the row if there is none; from then on the identity must be verified."""
    with engine.begin() as connection:
        connection.execute(_INSERT_INSTALLATION)


def refresh_identity(connection: sa.Connection, now: datetime) -> None:
    """Record that the database is the right one now: a backup then knows its age."""
    connection.execute(
        sa.text(f"""
            UPDATE installation SET alive_at = :now, written_by = {_WRITTEN}
            WHERE reconcile_only_since IS NULL AND {SAME_DATABASE_IDENTITY}
        """),
        {"now": now},
    )


def verify_identity(reconciler: Reconciler, modes: Collection[str]) -> OutboundGuard:
    """Verify the identity if no process has since the server started; enter reconcile-only if the database is a backup.

    Returns UNVERIFIED while the provider's record can't be read.
    """
    with reconciler.engine.connect() as connection:
        state = load_outbound_guard(connection)
        if state is not OutboundGuard.UNVERIFIED:
            return state
        reason = _identity_mismatch(connection)
    oldest = None
    if reason is None:
        try:
            lost = [payment for mode in modes for payment in _find_lost_payments(reconciler, mode)]
        except ProviderRecordUnavailable as why:
            logger.warning("installation.not_seen", why=str(why), hint="nothing is sent until Paystream answers")
            return OutboundGuard.UNVERIFIED
        if lost:
            oldest = min(payment.created_at for payment in lost)
            ids = ", ".join(payment.id for payment in lost[:3])
            reason = f"Paystream has payments that carry our ids but are not in our record: {ids}"
    now = reconciler.clock.now()
    with reconciler.engine.begin() as connection:
        connection.execute(sa.text("SELECT FROM installation FOR UPDATE"))
        if load_outbound_guard(connection) is not OutboundGuard.UNVERIFIED:  # another process verified it meanwhile
            return load_outbound_guard(connection)
        if reason is None:
            confirm_identity(connection, now)
            return OutboundGuard.OPEN
        enter_reconcile_only(connection, reason, now, oldest=oldest)
        return OutboundGuard.RECONCILE_ONLY


# The identity in the row, and whether the row is as its transaction wrote it. No locks.
_STORED_IDENTITY: Final = sa.text("""
    SELECT server_started_at IS NOT NULL AS was_verified, system_identifier, timeline, database_oid,
           CAST(CAST(xmin AS text) AS bigint) = written_by % 4294967296 AS is_original
    FROM installation
""")


def _identity_mismatch(connection: sa.Connection) -> str | None:
    """Return why the server says this is another database; None if it is not."""
    row = connection.execute(_STORED_IDENTITY).one()
    if not row.was_verified:
        return None
    found = connection.execute(sa.text(_IDENTITY)).one()
    if not row.is_original:
        return "the database was restored from a dump"
    if row.system_identifier != found[0]:
        return "the database is in another cluster than before"
    if row.timeline != found[1]:
        return f"the database was recovered or failed over: its timeline is {found[1]}, it was {row.timeline}"
    if row.database_oid != found[2]:
        return "the database was created again"
    return None


# Payments in our record, or in a case. No locks.
_KNOWN_PAYMENTS: Final = sa.text("""
    SELECT provider_payment_id FROM submission_items WHERE provider_payment_id = ANY(:payments)
    UNION SELECT payment_id FROM reconciliation_cases WHERE payment_id = ANY(:payments)
""")

# Payouts with a request whose payment is not recorded yet, and that can't be paid twice by sending it again. No locks.
_REQUESTED_PAYOUTS: Final = sa.text("""
    SELECT items.payout_id FROM submission_items AS items
    JOIN submissions ON submissions.id = items.submission_id
    WHERE items.payout_id = ANY(:payouts) AND NOT dissolved AND provider_payment_id IS NULL
          AND (submissions.status NOT IN ('prepared', 'unknown') OR submissions.created_at > :resend_safe_since)
""")


def _find_lost_payments(reconciler: Reconciler, mode: str) -> Iterable[ProviderPayment]:
    newest = provider_pages.load_newest_payments(reconciler.paystream, mode, reconciler.wait)
    payments = [payment for payment in newest if payment.payout_id and payment.moves_money]
    payout_ids = [payment.payout_id for payment in payments]
    with reconciler.engine.connect() as connection:
        known = set(connection.scalars(_KNOWN_PAYMENTS, {"payments": [payment.id for payment in payments]}))
        values = {"payouts": payout_ids, "resend_safe_since": reconciler.clock.now() - RESEND_SAFE_FOR}
        requested: set[uuid.UUID] = set(connection.scalars(_REQUESTED_PAYOUTS, values))
    return [payment for payment in payments if payment.id not in known and payment.payout_id not in requested]


def confirm_identity(connection: sa.Connection, now: datetime) -> None:
    """Record the identity: money may leave."""
    connection.execute(
        sa.text(f"""
            UPDATE installation SET server_started_at = pg_postmaster_start_time(), alive_at = :now,
                (system_identifier, timeline, database_oid) = ({_IDENTITY}),
                reconcile_only_since = NULL, reconcile_only_reason = NULL, by_hand = false, compare_since = NULL,
                compared_at = NULL, written_by = {_WRITTEN}
        """),
        {"now": now},
    )


def enter_reconcile_only(
    connection: sa.Connection, reason: str, now: datetime, *, oldest: datetime | None = None, by_hand: bool = False
) -> None:
    """Enter reconcile-only; comparison begins an hour before the last confirmation, or the `oldest` lost payment."""
    since = connection.scalar(sa.text("SELECT alive_at FROM installation")) or now - DEFAULT_LOOKBACK
    since = min(since, oldest or since) - provider_pages.CLOCK_MARGIN
    connection.execute(
        sa.text(f"""
            UPDATE installation SET reconcile_only_since = :now, reconcile_only_reason = :reason, by_hand = :by_hand,
                compare_since = :since, compared_at = NULL, written_by = {_WRITTEN}
            WHERE reconcile_only_since IS NULL
        """),
        {"now": now, "reason": reason, "by_hand": by_hand, "since": since},
    )
    logger.error("installation.reconcile_only", why=reason, compare_since=since.isoformat())


def mark_compared(connection: sa.Connection, now: datetime) -> bool:
    """Record the comparison; end reconcile-only unless an operator turned it on. Return whether it ended."""
    by_hand = connection.scalar(sa.text("SELECT by_hand FROM installation FOR UPDATE"))
    if not by_hand:
        confirm_identity(connection, now)
        logger.warning("installation.money_may_leave", why="Paystream's record was compared")
        return True
    connection.execute(sa.text(f"UPDATE installation SET compared_at = :now, written_by = {_WRITTEN}"), {"now": now})
    return False


def turn_on_reconcile_only(connection: sa.Connection, operator: str, reason: str, now: datetime) -> None:
    """Enter reconcile-only until an operator turns it off.

    Raises:
        Conflict: it is already on.
    """
    connection.execute(_INSERT_INSTALLATION)
    connection.execute(sa.text("SELECT FROM installation FOR UPDATE"))
    if load_outbound_guard(connection) is OutboundGuard.RECONCILE_ONLY:
        raise Conflict("reconcile-only is already on")
    enter_reconcile_only(connection, f"{operator}: {reason}", now, by_hand=True)
    _record_audit(connection, operator, reason, "on", now)


def turn_off_reconcile_only(connection: sa.Connection, operator: str, reason: str, now: datetime) -> None:
    """End reconcile-only.

    Raises:
        Conflict: it is off, or the provider's record has not been compared.
    """
    row = connection.execute(
        sa.text("SELECT reconcile_only_since, compare_since, compared_at FROM installation FOR UPDATE")
    ).one_or_none()
    if row is None or row.reconcile_only_since is None:
        raise Conflict("reconcile-only is off")
    if row.compared_at is None:
        raise Conflict(
            f"Paystream's record since {row.compare_since:%Y-%m-%d %H:%M} UTC has not been compared yet: wait for the "
            "scheduler, or run `ovnpay reconcile`"
        )
    confirm_identity(connection, now)
    _record_audit(connection, operator, reason, "off", now)


def _record_audit(connection: sa.Connection, operator: str, reason: str, to: str, now: datetime) -> None:
    organizations = connection.scalars(sa.text("SELECT id FROM organizations ORDER BY id")).all()
    after = {"reconcile_only": to, "by": operator, "reason": reason}
    entries = [
        Entry(audit.operator_actor(one), Action.INSTALLATION_RECONCILE_ONLY, None, after=after) for one in organizations
    ]
    audit.record_entries(connection, entries, now)
