"""The database's life: is this the database that it was, or an older copy of itself?

An older copy has forgotten payouts that were paid and keys that were handed out: what it would send next may be sent
already. Three witnesses, asked whenever the server has started anew or the row was copied in, before anything leaves:

- the row remembers cluster, timeline and database: a restore to an earlier point, another cluster and a standby that
  took over differ;
- the row remembers the transaction that wrote it: one that came out of a dump was written by another;
- the provider's record: if its newest payments carry ids of ours that we do not have, we have forgotten them. That is
  the only witness of a copy of the files put back in place.
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
from shared.controls.reconciliation.runs import Reconciler
from shared.holds.reconcile_only import SAME_DATABASE_IDENTITY, OutboundGuard, load_outbound_guard
from shared.identity import audit
from shared.identity.audit import Entry
from shared.platform.errors import Conflict
from shared.schema.audit import Action

logger = structlog.get_logger(__name__)

DEFAULT_LOOKBACK: Final = timedelta(days=90)
"""How far the provider's record is compared where nothing says how old the copy is."""

RESEND_SAFE_FOR: Final = timedelta(hours=20)
"""A request of ours that is younger goes out again under its key without harm."""

_WRITTEN: Final = "CAST(CAST(pg_current_xact_id() AS text) AS numeric) % 4294967296"
_IDENTITY: Final = """
    SELECT CAST((SELECT system_identifier FROM pg_control_system()) AS text),
           (SELECT timeline_id FROM pg_control_checkpoint()),
           (SELECT CAST(oid AS bigint) FROM pg_database WHERE datname = current_database())
"""


def create_installation_row(engine: sa.Engine) -> None:
    """Makes the row of a database that has none yet; from then on nothing leaves before somebody has looked."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"INSERT INTO installation (id, written_by) VALUES (1, {_WRITTEN}) ON CONFLICT DO NOTHING")
        )


def refresh_identity(connection: sa.Connection, now: datetime) -> None:
    """Notes that this is the right database still."""
    connection.execute(
        sa.text(f"""
            UPDATE installation SET alive_at = :now, written_by = {_WRITTEN}
            WHERE reconcile_only_since IS NULL AND {SAME_DATABASE_IDENTITY}
        """),
        {"now": now},
    )


def verify_identity(by: Reconciler, modes: Collection[str]) -> OutboundGuard:
    """Finds out whether this is the database that it was, where nobody has yet: then money may leave again, or it is
    reconcile-only. While the provider tells nothing it stays as it is. `modes` are those that we have a key for.
    """
    with by.engine.connect() as connection:
        state = load_outbound_guard(connection)
        if state is not OutboundGuard.UNVERIFIED:
            return state
        reason = _another(connection)
    oldest = None
    if reason is None:
        try:
            forgotten = [payment for mode in modes for payment in _forgotten(by, mode)]
        except ProviderRecordUnavailable as why:
            logger.warning("installation.not_seen", why=str(why), hint="nothing is sent until Paystream answers")
            return OutboundGuard.UNVERIFIED
        if forgotten:
            oldest = min(payment.created_at for payment in forgotten)
            ids = ", ".join(payment.id for payment in forgotten[:3])
            reason = f"Paystream has payments that we asked for and have no record of: {ids}"
    now = by.clock.now()
    with by.engine.begin() as connection:
        connection.execute(sa.text("SELECT FROM installation FOR UPDATE"))
        if load_outbound_guard(connection) is not OutboundGuard.UNVERIFIED:  # somebody else has looked
            return load_outbound_guard(connection)
        if reason is None:
            confirm_identity(connection, now)
            return OutboundGuard.OPEN
        enter_reconcile_only(connection, reason, now, oldest=oldest)
        return OutboundGuard.RECONCILE_ONLY


def _another(connection: sa.Connection) -> str | None:
    """Why the server's word says that this is another database than the row was written in."""
    row = connection.execute(
        sa.text("""
            SELECT server_started_at IS NOT NULL AS was_seen, system_identifier, timeline, database_oid,
                   CAST(CAST(xmin AS text) AS bigint) = written_by % 4294967296 AS own
            FROM installation
        """)
    ).one()
    if not row.was_seen:
        return None
    found = connection.execute(sa.text(_IDENTITY)).one()
    if not row.own:
        return "the database was restored from a dump"
    if row.system_identifier != found[0]:
        return "the database is in another cluster than it was"
    if row.timeline != found[1]:
        return f"the database was recovered, or a standby took over: its timeline is {found[1]}, it was {row.timeline}"
    if row.database_oid != found[2]:
        return "the database was made anew"
    return None


def _forgotten(by: Reconciler, mode: str) -> Iterable[ProviderPayment]:
    """Those of the provider's newest payments that carry our ids, and that we have no record of."""
    payments = [
        one
        for one in provider_pages.load_newest_payments(by.paystream, mode, by.pause)
        if one.payout_id and one.moves_money
    ]
    with by.engine.connect() as connection:
        known = set(
            connection.scalars(
                sa.text("""
                    SELECT provider_payment_id FROM submission_items WHERE provider_payment_id = ANY(:payments)
                    UNION SELECT payment_id FROM reconciliation_cases WHERE payment_id = ANY(:payments)
                """),
                {"payments": [payment.id for payment in payments]},
            )
        )
        asked: set[uuid.UUID] = set(
            connection.scalars(
                sa.text("""
                    SELECT items.payout_id FROM submission_items AS items
                    JOIN submissions ON submissions.id = items.submission_id
                    WHERE items.payout_id = ANY(:payouts) AND NOT dissolved AND provider_payment_id IS NULL
                          AND (submissions.status NOT IN ('prepared', 'unknown') OR submissions.created_at > :fresh)
                """),
                {"payouts": [payment.payout_id for payment in payments], "fresh": by.clock.now() - RESEND_SAFE_FOR},
            )
        )
    return [one for one in payments if one.id not in known and one.payout_id not in asked]


def confirm_identity(connection: sa.Connection, now: datetime) -> None:
    """Writes that this is the right database, in this life of its server: money may leave."""
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
    """Begins reconcile-only. What has to be compared begins an hour before this database was last known to be right,
    or before the `oldest` payment that it is known not to have.
    """
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
    """Notes that the provider's record was compared, and every key of ours looked up; what began by itself ends by
    itself. Returns whether it is over.
    """
    by_hand = connection.scalar(sa.text("SELECT by_hand FROM installation FOR UPDATE"))
    if not by_hand:
        confirm_identity(connection, now)
        logger.warning("installation.money_may_leave", why="Paystream's record was compared")
        return True
    connection.execute(sa.text(f"UPDATE installation SET compared_at = :now, written_by = {_WRITTEN}"), {"now": now})
    return False


def turn_on_reconcile_only(connection: sa.Connection, person: str, reason: str, now: datetime) -> None:
    """Begins reconcile-only because a person says so; it ends by a person too.

    Raises:
        Conflict: it is on already.

    """
    connection.execute(
        sa.text(f"INSERT INTO installation (id, written_by) VALUES (1, {_WRITTEN}) ON CONFLICT DO NOTHING")
    )
    connection.execute(sa.text("SELECT FROM installation FOR UPDATE"))
    if load_outbound_guard(connection) is OutboundGuard.RECONCILE_ONLY:
        raise Conflict("reconcile-only is on already")
    enter_reconcile_only(connection, f"{person}: {reason}", now, by_hand=True)
    _told(connection, person, reason, "on", now)


def turn_off_reconcile_only(connection: sa.Connection, person: str, reason: str, now: datetime) -> None:
    """Ends it because a person says so.

    Raises:
        Conflict: it is off, or the provider's record was not compared yet.

    """
    row = connection.execute(
        sa.text("SELECT reconcile_only_since, compare_since, compared_at FROM installation FOR UPDATE")
    ).one_or_none()
    if row is None or row.reconcile_only_since is None:
        raise Conflict("reconcile-only is off")
    if row.compared_at is None:
        raise Conflict(
            f"Paystream's record since {row.compare_since:%Y-%m-%d %H:%M} UTC was not compared yet; the scheduler is "
            "at it, or `ovnpay reconcile` does it now"
        )
    confirm_identity(connection, now)
    _told(connection, person, reason, "off", now)


def _told(connection: sa.Connection, person: str, reason: str, to: str, now: datetime) -> None:
    """Into everybody's audit log: it concerns all of their money."""
    organizations = connection.scalars(sa.text("SELECT id FROM organizations ORDER BY id")).all()
    after = {"reconcile_only": to, "by": person, "reason": reason}
    entries = [
        Entry(audit.operator_actor(one), Action.INSTALLATION_RECONCILE_ONLY, None, after=after) for one in organizations
    ]
    audit.record_entries(connection, entries, now)
