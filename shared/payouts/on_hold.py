"""Doubles: a payout that looks like a payment of the provider's of which we have no record is held, not sent.

So it is after a restore from an older copy: a client repeats a request whose key went with the rows, under the same
key, and it becomes another payout. The driver, what he receives and the words are the same; that is all that can be
known of it. Each such payment holds one payout at the most, until a person has closed its case.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from shared.payouts.contradictions import put_payouts_on_hold
from shared.platform.pipelined_queries import Query
from shared.schema.controls import CaseKind

DOUBLE_PAYMENT_REASON: Final = "it looks like Paystream's {}, of which we have no record: it may be paid already"

_MATCH = """
    WITH unknown AS (
        SELECT cases.id, payment_id, mode, theirs ->> 'recipient' AS recipient, theirs ->> 'description' AS words,
               CAST(theirs ->> 'amount' AS bigint) AS cents
        FROM reconciliation_cases AS cases
        WHERE kind = :missing_here AND closed_at IS NULL AND payout_id IS NULL
    ), numbered AS (
        SELECT unknown.*, row_number() OVER (PARTITION BY mode, {whose}, cents, words ORDER BY id) AS place
        FROM unknown WHERE {exact} EXISTS (SELECT FROM drivers WHERE recipient_id = unknown.recipient)
    ), asked AS (
        SELECT payouts.id, wallets.mode, drivers.recipient_id AS recipient, amount_cents - fee_cents AS cents,
               left(coalesce(nullif(description, ''), 'Payout'), 200) AS words
        FROM payouts JOIN drivers ON drivers.id = driver_id JOIN wallets ON wallets.id = payouts.wallet_id
        WHERE payouts.id = ANY(:ids)
    ), placed AS (
        SELECT asked.*, row_number() OVER (PARTITION BY mode, {whose}, cents, words ORDER BY id) AS place FROM asked
    )
    UPDATE reconciliation_cases AS cases SET payout_id = placed.id
    FROM numbered JOIN placed USING (mode, {whose}, cents, words, place)
    WHERE cases.id = numbered.id AND cases.payout_id IS NULL
    RETURNING placed.id, cases.payment_id
"""
_OF_THE_DRIVER = sa.text(_MATCH.format(whose="recipient", exact=""))
_OF_NOBODY_KNOWN = sa.text(_MATCH.format(whose="cents", exact="NOT").replace("cents, cents", "cents"))
"""Where the driver's row is lost as well: registered again he is another recipient, so any driver's may be his."""


_ANY = sa.text("""
    SELECT EXISTS (SELECT FROM reconciliation_cases
                   WHERE kind = :missing_here AND closed_at IS NULL AND payout_id IS NULL)
""")


def has_unmatched_payments_query() -> Query[bool]:
    """Asks whether there is any payment of the provider's that a payout could be a double of."""
    return Query(_ANY, {"missing_here": CaseKind.MISSING_HERE.value}, lambda rows: bool(rows[0][0]))


def hold_double_payments(connection: sa.Connection, payout_ids: Sequence[uuid.UUID], now: datetime) -> set[uuid.UUID]:
    """Holds those of the payouts that may be paid already; the caller has locked them. Returns which."""
    held: set[uuid.UUID] = set()
    for match in (_OF_THE_DRIVER, _OF_NOBODY_KNOWN):
        left = [payout_id for payout_id in payout_ids if payout_id not in held]
        values = {"missing_here": CaseKind.MISSING_HERE.value, "ids": left}
        for payout_id, payment_id in connection.execute(match, values).all():
            put_payouts_on_hold(connection, [payout_id], DOUBLE_PAYMENT_REASON.format(payment_id), now)
            held.add(payout_id)
    return held
