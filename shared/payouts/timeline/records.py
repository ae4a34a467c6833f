"""The records of one payout, read in one snapshot."""

import uuid
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.holds.conditions import hold_kind_expression

_PAYOUT = (
    "id, status, rail, amount_cents, batch_id, duplicate_of, duplicate_reason, reserved, submission_id, failure_code, "
    "held_reason, polls, requested_at, completed_at, next_action_at, polled_at, "
    f"{hold_kind_expression('payouts.wallet_id', 'payouts.rail')} AS outgoing, "
    "coalesce(held_at, CASE WHEN held_reason IS NOT NULL THEN updated_at END) AS held_at"
)

_TRANSITIONS = """
    SELECT sequence, from_status, to_status, attempt, reason, created_at FROM payout_transitions
    WHERE payout_id = :id ORDER BY sequence DESC LIMIT :max
"""

_TRANSFERS = """
    SELECT id, kind, from_account, to_account, amount_cents, attempt, created_at FROM transfers
    WHERE payout_id = :id ORDER BY position DESC LIMIT :max
"""

_SUBMISSIONS = """
    SELECT submissions.id, items.attempt, items.net_cents, items.provider_payment_id, items.dissolved, submissions.kind,
           submissions.rail, submissions.status, submissions.attempts, submissions.provider_id, first_sent_at,
           answered_at, error_code, error_message, unclear_answers, next_action_at, submissions.created_at,
           coalesce(lease_expires_at > clock_timestamp(), false) AS under_way
    FROM (
        SELECT submission_id, attempt, net_cents, provider_payment_id, dissolved FROM submission_items
        WHERE payout_id = :id AND NOT dissolved
        UNION ALL
        SELECT submission_id, attempt, net_cents, provider_payment_id, dissolved FROM submission_items
        WHERE payout_id = :id AND dissolved
    ) AS items JOIN submissions ON submissions.id = items.submission_id
    ORDER BY items.attempt DESC, submissions.created_at DESC, submissions.id DESC LIMIT :max
"""

_WEBHOOKS = """
    SELECT id, type, payment_id, amount_cents, failure_code, failure_reason, status, outcome, received_at, handled_at
    FROM provider_events
    WHERE (payout_id = :id OR payment_id = ANY(ARRAY(
              SELECT provider_payment_id FROM submission_items
              WHERE payout_id = :id AND NOT dissolved AND provider_payment_id IS NOT NULL)))
          AND (wallet_id = :wallet_id OR wallet_id IS NULL)
    ORDER BY id DESC LIMIT :max
"""

_CUSTOMER_EVENTS = """
    SELECT id, type, sequence, data -> 'failure' AS failure, created_at FROM customer_events
    WHERE payout_id = :id AND wallet_id = :wallet_id ORDER BY sequence DESC LIMIT :max
"""

_BATCH = """
    SELECT id, name, status, payout_count, scheduled_for, released_at, failure_code, failure_message, created_at
    FROM batches WHERE id = payout.batch_id AND wallet_id = :wallet_id
"""


def _json_list(statement: str) -> str:
    return f"(SELECT coalesce(json_agg(found), '[]') FROM ({statement}) AS found)"


# Returns the records of the wallet's payout as JSON, at most :max of each kind. Locks nothing.
_PAYOUT_RECORD: Final = sa.text(f"""
    SELECT to_json(payout),
           (SELECT drivers.name FROM drivers JOIN payouts ON payouts.driver_id = drivers.id
            WHERE payouts.id = payout.id),
           {_json_list(_TRANSITIONS)}, {_json_list(_TRANSFERS)}, {_json_list(_SUBMISSIONS)}, {_json_list(_WEBHOOKS)},
           {_json_list(_CUSTOMER_EVENTS)}, (SELECT to_json(found) FROM ({_BATCH}) AS found)
    FROM (SELECT {_PAYOUT} FROM payouts WHERE id = :id AND wallet_id = :wallet_id) AS payout
""")

RecordRow = dict[str, Any]
"""A row by column name, with decoded ids and times."""


class PayoutRecord(NamedTuple):
    """The records of a payout; lists are newest first."""

    payout: RecordRow
    driver_name: str
    transitions: list[RecordRow]
    transfers: list[RecordRow]
    submissions: list[RecordRow]
    webhooks: list[RecordRow]
    customer_events: list[RecordRow]
    batch: RecordRow | None


def load_payout_record(
    connection: sa.Connection, wallet_id: uuid.UUID, payout_id: uuid.UUID, max_rows: int
) -> PayoutRecord | None:
    """The records of the wallet's payout, at most `max_rows` of each kind, or None.

    Lease tokens, requests and raw bodies are not read.
    """
    row = connection.execute(_PAYOUT_RECORD, {"id": payout_id, "wallet_id": wallet_id, "max": max_rows}).one_or_none()
    if row is None:
        return None
    payout, driver_name, *lists, batch = row
    decoded = [[_decode_row(one) for one in rows] for rows in lists]
    decoded_batch = None if batch is None else _decode_row(batch)
    return PayoutRecord._make([_decode_row(payout), driver_name, *decoded, decoded_batch])


def _decode_row(row: RecordRow) -> RecordRow:
    decoded = dict(row)
    for name, value in row.items():
        if not isinstance(value, str):
            continue
        if name in ("id", "duplicate_of") or (name.endswith("_id") and name not in _PROVIDER_IDS):
            decoded[name] = uuid.UUID(value)
        elif name.endswith("_at") or name == "scheduled_for":
            decoded[name] = datetime.fromisoformat(value)
    return decoded


_PROVIDER_IDS: Final = frozenset({"payment_id", "provider_id", "provider_payment_id"})
