"""Compare the provider's payments with our rows, and our rows with the provider's payments.

Work in progress is no difference; `GracePeriods` says for how long.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.controls.reconciliation.provider_payments import PENDING_STATUSES, ProviderPayment
from shared.holds.cases import Difference
from shared.platform.ids import PAYOUT, first_id_at, public_id
from shared.platform.settings import Settings
from shared.schema.controls import CaseKind

UNDECIDED_STATUSES: Final = ("prepared", "unknown")
"""Submissions that are sent again under their key, or looked up, until their outcome is known."""

EXPECTED_STATUS: Final = {
    "completed": "completed",
    "failed": "failed",
    "canceled": "failed",
    "returned": "returned",
    **dict.fromkeys(PENDING_STATUSES, "processing"),
}
"""Our status for each status of the provider."""


class GracePeriods(NamedTuple):
    """How long the two records may differ."""

    settling: timedelta
    """After either side's last change."""
    late: Mapping[str, timedelta]
    """By rail: until a payment whose webhook was lost is polled, and a day more."""


def grace_periods(settings: Settings) -> GracePeriods:
    waits = {rail: getattr(settings, f"poll_after_{rail}_seconds") for rail in ("standard", "same_day", "instant")}
    return GracePeriods(
        settling=timedelta(minutes=15),
        late={rail: timedelta(seconds=seconds) + timedelta(days=1) for rail, seconds in waits.items()},
    )


class OurRecord(NamedTuple):
    """A payout with one of its submission items; the item's fields are None if it was never sent."""

    payout_id: uuid.UUID
    wallet_id: uuid.UUID
    currency: str
    rail: str
    status: str
    current_attempt: int
    changed_at: datetime
    attempt: int | None
    net_cents: int | None
    recipient_id: str | None
    payment_id: str | None
    submission_id: uuid.UUID | None
    submission_status: str | None

    def case_values(self) -> dict[str, Any]:
        status = self.status if self.attempt in (None, self.current_attempt) else "failed"
        values: dict[str, Any] = {
            "payout": public_id(PAYOUT, self.payout_id),
            "status": status,
            "attempt": self.attempt,
        }
        if self.submission_status is not None and self.payment_id is None:
            values["submission"] = self.submission_status
        return values | {"amount": self.net_cents, "recipient": self.recipient_id}


_OURS = """
    SELECT payouts.id, payouts.wallet_id, wallets.currency, payouts.rail, payouts.status, payouts.attempt,
           payouts.updated_at, items.attempt, items.net_cents, items.recipient_id, items.provider_payment_id,
           items.submission_id, submissions.status
    FROM payouts JOIN wallets ON wallets.id = payouts.wallet_id
    LEFT JOIN submission_items AS items ON items.payout_id = payouts.id AND NOT items.dissolved
    LEFT JOIN submissions ON submissions.id = items.submission_id
"""


class PageComparison(NamedTuple):
    differences: list[Difference]
    seen: set[uuid.UUID]
    """Payouts whose current attempt is in the provider's record."""


def compare_payments(
    connection: sa.Connection, mode: str, payments: Sequence[ProviderPayment], read_at: datetime, grace: GracePeriods
) -> PageComparison:
    rows = connection.execute(
        sa.text(f"""
            {_OURS}
            WHERE wallets.mode = :mode AND payouts.id IN (
                SELECT payout_id FROM submission_items WHERE provider_payment_id = ANY(:payments)
                UNION ALL SELECT unnest(CAST(:payouts AS uuid[])))
        """),
        {
            "mode": mode,
            "payments": [payment.id for payment in payments],
            "payouts": [payment.payout_id for payment in payments if payment.payout_id],
        },
    )
    by_payment: dict[str, OurRecord] = {}
    by_payout: defaultdict[uuid.UUID, list[OurRecord]] = defaultdict(list)
    for row in rows:
        ours = OurRecord._make(row)
        by_payout[ours.payout_id].append(ours)
        if ours.payment_id is not None:
            by_payment[ours.payment_id] = ours
    recipient_ids = {payment.recipient_id for payment in payments if payment.id not in by_payment}
    wallets = _wallets_by_recipient(connection, mode, recipient_ids)
    differences: list[Difference] = []
    seen = set()
    for payment in payments:
        known = by_payment.get(payment.id) or _find_request(payment, by_payout)
        if known is None:
            differences += _compare_unknown(payment, by_payout, wallets)
            continue
        if known.attempt == known.current_attempt:
            seen.add(known.payout_id)
        if known.submission_status not in UNDECIDED_STATUSES:
            differences += _compare_known(payment, known, read_at, grace)
    return PageComparison(differences, seen)


def _find_request(payment: ProviderPayment, by_payout: Mapping[uuid.UUID, list[OurRecord]]) -> OurRecord | None:
    """Return our request that the payment names, if its payment is not recorded."""
    if payment.payout_id is None:
        return None
    waiting = [one for one in by_payout.get(payment.payout_id, ()) if one.submission_id and one.payment_id is None]
    if payment.submission_id is not None:
        waiting = [one for one in waiting if one.submission_id == payment.submission_id]
    return max(waiting, key=lambda one: one.attempt or 0, default=None)


def _compare_unknown(
    payment: ProviderPayment, by_payout: Mapping[uuid.UUID, list[OurRecord]], wallets: Mapping[str, uuid.UUID]
) -> Iterator[Difference]:
    if not payment.moves_money:
        return
    found = Difference(
        CaseKind.MISSING_HERE,
        payment.id,
        payment.created_at,
        None,
        payment.case_values(),
        wallet_id=wallets.get(payment.recipient_id),
        payment_id=payment.id,
    )
    rows = by_payout.get(payment.payout_id, []) if payment.payout_id else []
    if rows:
        current = (one for one in rows if one.payment_id and one.attempt == one.current_attempt)
        twin = next((one for one in current if one.status in ("processing", "completed")), None)
        ours = twin or rows[-1]
        kind = CaseKind.PAID_TWICE if twin else CaseKind.MISSING_HERE
        values = ours.case_values() | ({"payment": ours.payment_id} if twin else {})
        found = found._replace(kind=kind, ours=values, wallet_id=ours.wallet_id, payout_id=ours.payout_id)
    yield found


def _compare_known(
    payment: ProviderPayment, ours: OurRecord, read_at: datetime, grace: GracePeriods
) -> Iterator[Difference]:
    base = Difference(
        CaseKind.STATUS,
        payment.id,
        payment.created_at,
        ours.case_values(),
        payment.case_values(),
        ours.wallet_id,
        ours.payout_id,
        ours.submission_id,
        payment.id,
    )
    if payment.amount_cents != ours.net_cents:
        yield base._replace(kind=CaseKind.AMOUNT)
    if payment.currency is not None and payment.currency.lower() != ours.currency.lower():
        yield base._replace(kind=CaseKind.CURRENCY, ours=ours.case_values() | {"currency": ours.currency.lower()})
    if payment.recipient_id != ours.recipient_id:
        yield base._replace(kind=CaseKind.RECIPIENT)
    if not _statuses_agree(payment, ours, read_at, grace):
        yield base


def _statuses_agree(payment: ProviderPayment, ours: OurRecord, read_at: datetime, grace: GracePeriods) -> bool:
    """Return whether the statuses agree, or one side may not have received the other's yet."""
    status = ours.status if ours.attempt == ours.current_attempt else "failed"
    if EXPECTED_STATUS.get(payment.status) == status:
        return True
    if max(payment.changed_at, ours.changed_at) > read_at - grace.settling:
        return True
    # It ended at the provider only: a lost webhook is made up for by polling.
    return status == "processing" and payment.changed_at > read_at - grace.late[ours.rail]


def find_unseen_payouts(
    connection: sa.Connection, mode: str, since: datetime, until: datetime, seen: Collection[uuid.UUID]
) -> list[tuple[OurRecord, datetime]]:
    """Return payouts accepted in the window whose payment was not seen, with the time of acceptance."""
    rows = connection.execute(
        sa.text(f"""
            SELECT ours.*, submissions.answered_at
            FROM ({_OURS} WHERE items.submission_id >= :first AND wallets.mode = :mode
                  AND items.attempt = payouts.attempt AND payouts.status IN ('processing', 'completed', 'returned'))
                 AS ours (payout_id, wallet_id, currency, rail, status, current_attempt, changed_at, attempt, net_cents,
                          recipient_id, payment_id, submission_id, submission_status)
            JOIN submissions ON submissions.id = ours.submission_id
            WHERE submissions.status = 'accepted' AND submissions.answered_at BETWEEN :since AND :until
        """),
        {"first": first_id_at(since - timedelta(days=3)), "mode": mode, "since": since, "until": until},
    )
    return [(OurRecord._make(row[:-1]), row[-1]) for row in rows if row[0] not in seen]


def missing_at_provider(ours: OurRecord, about_at: datetime) -> Difference:
    return Difference(
        CaseKind.MISSING_THERE,
        f"{public_id(PAYOUT, ours.payout_id)} {ours.attempt}",
        about_at,
        ours.case_values() | {"payment": ours.payment_id},
        None,
        ours.wallet_id,
        ours.payout_id,
        ours.submission_id,
        ours.payment_id,
    )


def find_unresolved_payouts(connection: sa.Connection, mode: str) -> list[Difference]:
    """Return a difference for each payout on hold or with an unresolved submission."""
    rows = connection.execute(
        sa.text("""
            SELECT payouts.id, payouts.wallet_id, payouts.attempt, payouts.status, payouts.submission_id,
                   payouts.held_reason, coalesce(payouts.held_at, payouts.updated_at) AS at
            FROM payouts JOIN wallets ON wallets.id = payouts.wallet_id
            WHERE payouts.held_reason IS NOT NULL AND wallets.mode = :mode
            UNION ALL
            SELECT payouts.id, payouts.wallet_id, payouts.attempt, payouts.status, payouts.submission_id, NULL,
                   payouts.updated_at
            FROM submissions JOIN submission_items AS items ON items.submission_id = submissions.id
            JOIN payouts ON payouts.id = items.payout_id AND payouts.submission_id = submissions.id
            JOIN wallets ON wallets.id = payouts.wallet_id
            WHERE submissions.status = 'unresolved' AND payouts.status = 'processing' AND payouts.held_reason IS NULL
                  AND wallets.mode = :mode
        """),
        {"mode": mode},
    )
    return [
        Difference(
            CaseKind.CONTRADICTION if row.held_reason else CaseKind.UNRESOLVED,
            f"{public_id(PAYOUT, row.id)} {row.attempt}",
            row.at,
            {
                "payout": public_id(PAYOUT, row.id),
                "status": row.status,
                "why": row.held_reason or "its idempotency key has expired",
            },
            None,
            row.wallet_id,
            row.id,
            row.submission_id,
        )
        for row in rows
    ]


def _wallets_by_recipient(connection: sa.Connection, mode: str, recipient_ids: Collection[str]) -> dict[str, uuid.UUID]:
    if not recipient_ids:
        return {}
    rows = connection.execute(
        sa.text("""
            SELECT recipient_id, wallet_id FROM drivers JOIN wallets ON wallets.id = wallet_id
            WHERE recipient_id = ANY(:ids) AND wallets.mode = :mode
        """),
        {"ids": sorted(recipient_ids), "mode": mode},
    )
    return {row.recipient_id: row.wallet_id for row in rows}
