"""Funding projection: a wallet's money day by day (UTC), and the first day on which it falls short.

Pending top-ups are shown, but the projected balance and the shortfall ignore them until the provider confirms them.
"""

import uuid
from datetime import date, datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared import ledger
from shared.batches import queries
from shared.payouts.rails import add_business_days, estimate_arrival
from shared.schema.payouts import Rail

TOPUP_BUSINESS_DAYS: Final = {"rtp": 0, "bank_transfer": 3}
"""Longest duration of a top-up by method: seconds, or 2-3 business days."""


class ProjectedDay(NamedTuple):
    """A day of the projection."""

    date: date
    outflow_cents: int
    """What batches scheduled for the day will reserve."""
    topups_cents: int
    """Pending top-ups that may be credited on the day."""
    settling_cents: int
    """Money in transit that may reach drivers on the day, fees included."""


class PendingTotal(NamedTuple):
    """A number of items and their total amount."""

    number: int
    amount_cents: int


class Shortfall(NamedTuple):
    """The first day on which the balance does not cover the scheduled batches."""

    date: date
    missing_cents: int


class FundingProjection(NamedTuple):
    """A wallet's projection."""

    available_cents: int
    days: list[ProjectedDay]
    open_payouts: PendingTotal
    """Payouts whose money is in transit: reserved, and neither arrived nor returned."""
    pending_topups: PendingTotal
    unscheduled: PendingTotal
    """Batches that wait for a manual release: without a time, or failed for lack of money."""

    @property
    def outflow_cents(self) -> int:
        """What scheduled batches will reserve in all days."""
        return sum(day.outflow_cents for day in self.days)

    @property
    def shortfall(self) -> Shortfall | None:
        """The first day on which the balance of today does not cover the batches scheduled until then."""
        left = self.available_cents
        for day in self.days:
            left -= day.outflow_cents
            if left < 0:
                return Shortfall(day.date, -left)
        return None


def project_funding(connection: sa.Connection, wallet_id: uuid.UUID, now: datetime, days: int) -> FundingProjection:
    """Project a wallet for so many days, today included; run it in a REPEATABLE READ transaction."""
    today = now.date()
    topups = _topups(connection, wallet_id, today)
    settling = _settling(connection, wallet_id, today)
    return FundingProjection(
        ledger.load_balances(connection, wallet_id).available_cents,
        [
            ProjectedDay(day, cents, topups.get(day, 0), settling.get(day, 0))
            for day, cents in queries.load_scheduled_outflow(connection, wallet_id, today, days)
        ],
        _pending_total(connection, _OPEN_PAYOUTS, wallet_id),
        _pending_total(connection, _PENDING_TOPUPS, wallet_id),
        _pending_total(connection, _UNSCHEDULED, wallet_id),
    )


# Number and cents; these three statements lock nothing.
_OPEN_PAYOUTS: Final = """
    SELECT count(*), sum(amount_cents) FROM payouts
    WHERE wallet_id = :wallet_id AND status IN ('validated', 'queued', 'processing') AND reserved
"""

_PENDING_TOPUPS: Final = """
    SELECT count(*), sum(amount_cents) FROM topups WHERE wallet_id = :wallet_id AND status = 'pending'
"""

_UNSCHEDULED: Final = """
    SELECT count(DISTINCT batches.id), sum(payouts.amount_cents)
    FROM batches JOIN payouts ON payouts.batch_id = batches.id AND payouts.status = 'validated'
    WHERE batches.wallet_id = :wallet_id AND released_at IS NULL
          AND ((batches.status = 'queued' AND scheduled_for IS NULL) OR batches.status = 'failed')
"""


def _pending_total(connection: sa.Connection, statement: str, wallet_id: uuid.UUID) -> PendingTotal:
    row = connection.execute(sa.text(statement), {"wallet_id": wallet_id}).one()
    return PendingTotal(int(row[0]), int(row[1] or 0))


# By their latest day: overdue ones count for today, stuck ones for no day.
def _topups(connection: sa.Connection, wallet_id: uuid.UUID, today: date) -> dict[date, int]:
    rows = connection.execute(
        sa.text("""
            SELECT created_at, method, amount_cents FROM topups
            WHERE wallet_id = :wallet_id AND status = 'pending' AND next_action_at IS NOT NULL
        """),
        {"wallet_id": wallet_id},
    )
    found: dict[date, int] = {}
    for row in rows:
        days = TOPUP_BUSINESS_DAYS.get(row.method, 0)
        by = add_business_days(row.created_at, days) if days else row.created_at
        day = max(by.date(), today)
        found[day] = found.get(day, 0) + row.amount_cents
    return found


# By the latest day of arrival; payouts on hold count for no day.
def _settling(connection: sa.Connection, wallet_id: uuid.UUID, today: date) -> dict[date, int]:
    rows = connection.execute(
        sa.text("""
            SELECT rail, date_trunc('day', updated_at, 'UTC') AS moved_on, sum(amount_cents) FROM payouts
            WHERE wallet_id = :wallet_id AND status IN ('validated', 'queued', 'processing') AND reserved
                  AND held_reason IS NULL
            GROUP BY rail, moved_on
        """),
        {"wallet_id": wallet_id},
    )
    found: dict[date, int] = {}
    for rail, moved_on, cents in rows:
        day = max(estimate_arrival(Rail(rail), moved_on).by.date(), today)
        found[day] = found.get(day, 0) + int(cents)
    return found
