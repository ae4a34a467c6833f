"""The projection: what is to come of a wallet's money, day by day (UTC), and the first day on which it will not reach.

Careful on purpose: a top-up that is still pending is shown on the day on which it may be there, but neither the
projected balance nor the shortfall counts on it, for only the provider's word makes it money.
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
"""How long the provider's top-ups take at the most, by method: seconds, or 2-3 business days."""


class ProjectedDay(NamedTuple):
    """One day."""

    date: date
    outflow_cents: int
    """What batches scheduled for it will take out of `available`."""
    topups_cents: int
    """Pending top-ups that may be credited on it."""
    settling_cents: int
    """What has left `available` before and may reach drivers on it, fees included."""


class PendingTotal(NamedTuple):
    """How many, and how much money."""

    number: int
    amount_cents: int


class Shortfall(NamedTuple):
    """The first day on which the money will not reach."""

    date: date
    missing_cents: int


class FundingProjection(NamedTuple):
    """What is to come."""

    available_cents: int
    days: list[ProjectedDay]
    open_payouts: PendingTotal
    """Payouts whose money is in transit: no longer available, not arrived, in part to come back."""
    pending_topups: PendingTotal
    unscheduled: PendingTotal
    """Batches that wait for somebody to release them: without a time, or refused for lack of money. They cost what
    their payouts do, on no day that anybody knows."""

    @property
    def outflow_cents(self) -> int:
        """What scheduled batches will take in all of the days."""
        return sum(day.outflow_cents for day in self.days)

    @property
    def shortfall(self) -> Shortfall | None:
        """The first day on which what is available now does not cover the batches scheduled until then."""
        left = self.available_cents
        for day in self.days:
            left -= day.outflow_cents
            if left < 0:
                return Shortfall(day.date, -left)
        return None


def project_funding(connection: sa.Connection, wallet_id: uuid.UUID, now: datetime, days: int) -> FundingProjection:
    """Projects a wallet for so many days, today included; in a transaction that sees one moment."""
    today = now.date()
    topups = _topups(connection, wallet_id, today)
    settling = _settling(connection, wallet_id, today)
    return FundingProjection(
        ledger.load_balances(connection, wallet_id).available_cents,
        [
            ProjectedDay(day, cents, topups.get(day, 0), settling.get(day, 0))
            for day, cents in queries.load_scheduled_outflow(connection, wallet_id, today, days)
        ],
        _waiting(connection, _OPEN_PAYOUTS, wallet_id),
        _waiting(connection, _PENDING_TOPUPS, wallet_id),
        _waiting(connection, _UNSCHEDULED, wallet_id),
    )


_OPEN_PAYOUTS = """
    SELECT count(*), sum(amount_cents) FROM payouts
    WHERE wallet_id = :wallet_id AND status IN ('validated', 'queued', 'processing') AND reserved
"""

_PENDING_TOPUPS = """
    SELECT count(*), sum(amount_cents) FROM topups WHERE wallet_id = :wallet_id AND status = 'pending'
"""

_UNSCHEDULED = """
    SELECT count(DISTINCT batches.id), sum(payouts.amount_cents)
    FROM batches JOIN payouts ON payouts.batch_id = batches.id AND payouts.status = 'validated'
    WHERE batches.wallet_id = :wallet_id AND released_at IS NULL
          AND ((batches.status = 'queued' AND scheduled_for IS NULL) OR batches.status = 'failed')
"""


def _waiting(connection: sa.Connection, statement: str, wallet_id: uuid.UUID) -> PendingTotal:
    row = connection.execute(sa.text(statement), {"wallet_id": wallet_id}).one()
    return PendingTotal(int(row[0]), int(row[1] or 0))


def _topups(connection: sa.Connection, wallet_id: uuid.UUID, today: date) -> dict[date, int]:
    """Pending top-ups by the day on which they may be there, which is today for one that is late. One that only a
    person can bring on has no day.
    """
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


def _settling(connection: sa.Connection, wallet_id: uuid.UUID, today: date) -> dict[date, int]:
    """Money in transit by the day on which its rail may have brought it, counted from its last step. What is held has
    no day.
    """
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
