"""Comparing: a page of the provider's payments with our rows, and our rows with what the provider has shown.

What is under way is no difference: a request that is still being asked, a webhook on its way, a payment that has
changed a moment ago. `GracePeriods` says for how long.
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
"""Submissions that go out again under their key, or are looked up: what came of them is still being found out."""

EXPECTED_STATUS: Final = {
    "completed": "completed",
    "failed": "failed",
    "canceled": "failed",
    "returned": "returned",
    **dict.fromkeys(PENDING_STATUSES, "processing"),
}
"""What we say where the provider says that."""


class GracePeriods(NamedTuple):
    """How long the two records may differ before it counts."""

    settling: timedelta
    """After either side's last change."""
    late: Mapping[str, timedelta]
    """By rail: until a payment whose webhook was lost is asked about, and a day more."""


def grace_periods(settings: Settings) -> GracePeriods:
    """The graces of an installation."""
    waits = {rail: getattr(settings, f"poll_after_{rail}_seconds") for rail in ("standard", "same_day", "instant")}
    return GracePeriods(
        settling=timedelta(minutes=15),
        late={rail: timedelta(seconds=seconds) + timedelta(days=1) for rail, seconds in waits.items()},
    )


class OurRecord(NamedTuple):
    """One payout's place in a submission, and the payout as it is now; without the first where it was never sent."""

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

    def shown(self) -> dict[str, Any]:
        """As a case keeps it."""
        said = self.status if self.attempt in (None, self.current_attempt) else "failed"
        kept: dict[str, Any] = {"payout": public_id(PAYOUT, self.payout_id), "status": said, "attempt": self.attempt}
        if self.submission_status is not None and self.payment_id is None:
            kept["submission"] = self.submission_status
        return kept | {"amount": self.net_cents, "recipient": self.recipient_id}


_OURS = """
    SELECT payouts.id, payouts.wallet_id, wallets.currency, payouts.rail, payouts.status, payouts.attempt,
           payouts.updated_at, items.attempt, items.net_cents, items.recipient_id, items.provider_payment_id,
           items.submission_id, submissions.status
    FROM payouts JOIN wallets ON wallets.id = payouts.wallet_id
    LEFT JOIN submission_items AS items ON items.payout_id = payouts.id AND NOT items.dissolved
    LEFT JOIN submissions ON submissions.id = items.submission_id
"""


class PageComparison(NamedTuple):
    """What came of a page."""

    differences: list[Difference]
    seen: set[uuid.UUID]
    """Payouts whose current attempt the provider has."""


def compare_payments(
    connection: sa.Connection, mode: str, payments: Sequence[ProviderPayment], read_at: datetime, allowed: GracePeriods
) -> PageComparison:
    """Compares the provider's payments with what we know of them."""
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
    wallets = _wallets_of(connection, mode, {one.recipient_id for one in payments if one.id not in by_payment})
    differences: list[Difference] = []
    seen = set()
    for payment in payments:
        known = by_payment.get(payment.id) or _asked_for(payment, by_payout)
        if known is None:
            differences += _unknown(payment, by_payout, wallets)
            continue
        if known.attempt == known.current_attempt:
            seen.add(known.payout_id)
        if known.submission_status not in UNDECIDED_STATUSES:
            differences += _known(payment, known, read_at, allowed)
    return PageComparison(differences, seen)


def _asked_for(payment: ProviderPayment, by_payout: Mapping[uuid.UUID, list[OurRecord]]) -> OurRecord | None:
    """Our request that the payment names, where we have not heard of the payment itself."""
    if payment.payout_id is None:
        return None
    waiting = [one for one in by_payout.get(payment.payout_id, ()) if one.submission_id and one.payment_id is None]
    if payment.submission_id is not None:
        waiting = [one for one in waiting if one.submission_id == payment.submission_id]
    return max(waiting, key=lambda one: one.attempt or 0, default=None)


def _unknown(
    payment: ProviderPayment, by_payout: Mapping[uuid.UUID, list[OurRecord]], wallets: Mapping[str, uuid.UUID]
) -> Iterator[Difference]:
    """A payment that we have not asked for, by our record. One that moves no money hurts nobody."""
    if not payment.moves_money:
        return
    found = Difference(
        CaseKind.MISSING_HERE,
        payment.id,
        payment.created_at,
        None,
        payment.shown(),
        wallet_id=wallets.get(payment.recipient_id),
        payment_id=payment.id,
    )
    rows = by_payout.get(payment.payout_id, []) if payment.payout_id else []
    if rows:
        now_live = (one for one in rows if one.payment_id and one.attempt == one.current_attempt)
        twin = next((one for one in now_live if one.status in ("processing", "completed")), None)
        ours = twin or rows[-1]
        kind = CaseKind.PAID_TWICE if twin else CaseKind.MISSING_HERE
        said = ours.shown() | ({"payment": ours.payment_id} if twin else {})
        found = found._replace(kind=kind, ours=said, wallet_id=ours.wallet_id, payout_id=ours.payout_id)
    yield found


def _known(payment: ProviderPayment, ours: OurRecord, read_at: datetime, allowed: GracePeriods) -> Iterator[Difference]:
    """What differs about a payment that both have."""
    base = Difference(
        CaseKind.STATUS,
        payment.id,
        payment.created_at,
        ours.shown(),
        payment.shown(),
        ours.wallet_id,
        ours.payout_id,
        ours.submission_id,
        payment.id,
    )
    if payment.amount_cents != ours.net_cents:
        yield base._replace(kind=CaseKind.AMOUNT)
    if payment.currency is not None and payment.currency.lower() != ours.currency.lower():
        yield base._replace(kind=CaseKind.CURRENCY, ours=ours.shown() | {"currency": ours.currency.lower()})
    if payment.recipient_id != ours.recipient_id:
        yield base._replace(kind=CaseKind.RECIPIENT)
    if not _agree(payment, ours, read_at, allowed):
        yield base


def _agree(payment: ProviderPayment, ours: OurRecord, read_at: datetime, allowed: GracePeriods) -> bool:
    """Whether both tell the same end, or one of them may not have heard yet."""
    said = ours.status if ours.attempt == ours.current_attempt else "failed"
    if EXPECTED_STATUS.get(payment.status) == said:
        return True
    if max(payment.changed_at, ours.changed_at) > read_at - allowed.settling:
        return True
    waiting = said == "processing"  # and they have ended it: asked about when its webhook stays away
    return waiting and payment.changed_at > read_at - allowed.late[ours.rail]


def find_unseen_payouts(
    connection: sa.Connection, mode: str, since: datetime, until: datetime, seen: Collection[uuid.UUID]
) -> list[tuple[OurRecord, datetime]]:
    """What we say that the provider took on within the window, and it has not shown; with when that was."""
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
    """The difference that one of them is, once the provider has said that it has no such payment."""
    return Difference(
        CaseKind.MISSING_THERE,
        f"{public_id(PAYOUT, ours.payout_id)} {ours.attempt}",
        about_at,
        ours.shown() | {"payment": ours.payment_id},
        None,
        ours.wallet_id,
        ours.payout_id,
        ours.submission_id,
        ours.payment_id,
    )


def find_unresolved_payouts(connection: sa.Connection, mode: str) -> list[Difference]:
    """What waits for a person by our own record: payouts that are held, and those of which nobody knows the end."""
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
            {"payout": public_id(PAYOUT, row.id), "status": row.status, "why": row.held_reason or "its key is too old"},
            None,
            row.wallet_id,
            row.id,
            row.submission_id,
        )
        for row in rows
    ]


def _wallets_of(connection: sa.Connection, mode: str, recipient_ids: Collection[str]) -> dict[str, uuid.UUID]:
    """The wallets whose drivers these recipients are."""
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
