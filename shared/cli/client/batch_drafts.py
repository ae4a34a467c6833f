"""Turns a settlement into batches and creates each batch at most once.

The Idempotency-Key of a batch is a hash of its payments, so the same content under any file name, row order or release
time finds its batch again. A key whose request was rejected, or whose batch was canceled, paid nothing: then the next
key of the sequence is used.
"""

import enum
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.drivers import ApiDriver, DriverIndex
from shared.cli.client.errors import ApiRejected, CommandError
from shared.cli.client.settlement_file import SettlementRow

KEY_VERSION: Final = 1
"""Version of the hashed content. A change pays files twice that were submitted in the last 48 hours."""
KEYS_MAX: Final = 5
NAME_LENGTH_MAX: Final = 200


class PayableRow(NamedTuple):
    """A row and its driver."""

    row: SettlementRow
    driver: ApiDriver


class BatchDraft(NamedTuple):
    """The rows of one urgency."""

    urgency: str
    rows: list[PayableRow]

    @property
    def total_cents(self) -> int:
        """Amount that leaves the wallet."""
        return sum(payable.row.amount_cents for payable in self.rows)


class PaymentTerms(NamedTuple):
    """How a settlement is paid."""

    name: str
    scheduled_for: datetime | None
    hold: bool
    duplicate_reason: str | None
    """Why loads may be paid again; None rejects duplicates."""


def draft_batches(rows: Sequence[SettlementRow], drivers: DriverIndex) -> list[BatchDraft]:
    """Group rows by urgency."""
    by_urgency: dict[str, list[PayableRow]] = {}
    for row in rows:
        driver = drivers.find_driver(row.driver)
        if driver is None:
            raise LookupError(f"row {row.line} has no known driver")  # `check_settlement_drivers` rejects it before
        by_urgency.setdefault(row.urgency, []).append(PayableRow(row, driver))
    return [BatchDraft(urgency, payable) for urgency, payable in by_urgency.items()]


def idempotency_keys(draft: BatchDraft) -> list[str]:
    """Return the keys of this content, in order of use."""
    payments = sorted(
        [driver.ovn_driver_id, row.amount_cents, row.load_id or "", row.description or ""] for row, driver in draft.rows
    )
    content = json.dumps([KEY_VERSION, draft.urgency, payments], ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(content.encode()).hexdigest()
    return [f"ovnpay-pay-{digest}-{number}" for number in range(1, KEYS_MAX + 1)]


def batch_body(draft: BatchDraft, terms: PaymentTerms, *, is_one_of_several: bool) -> Json:
    """Return the body of `POST /batches` and of `POST /batches/quote`."""
    name = f"{terms.name} ({draft.urgency})" if is_one_of_several else terms.name
    body: Json = {
        "name": name[:NAME_LENGTH_MAX],
        "urgency": draft.urgency,
        "refuseDuplicates": True,
        "payouts": [_payout_body(payable, terms.duplicate_reason) for payable in draft.rows],
    }
    return body if terms.scheduled_for is None else {**body, "scheduledFor": terms.scheduled_for.isoformat()}


def _payout_body(payable: PayableRow, duplicate_reason: str | None) -> Json:
    body: dict[str, Any] = {"driverId": payable.driver.id, "amount": payable.row.amount_cents}
    if payable.row.description:
        body["description"] = payable.row.description
    if payable.row.load_id:
        body["loadId"] = payable.row.load_id
        if duplicate_reason is not None:
            body |= {"allowDuplicate": True, "duplicateReason": duplicate_reason}
    return body


class EarlierBatch(NamedTuple):
    """Result of the search."""

    batch: Json | None
    unused_keys: list[str]
    """Keys that created nothing; empty if there is a batch."""


async def find_earlier_batch(api: ApiClient, draft: BatchDraft) -> EarlierBatch:
    """Find the batch that this content created in the last 48 hours, under any of its keys."""
    unused_keys = []
    for key in idempotency_keys(draft):
        batch = await api.get_batch_by_key(key)
        if batch is None:
            unused_keys.append(key)
        elif batch["status"] != "canceled":
            return EarlierBatch(batch, [])
    return EarlierBatch(None, unused_keys)


class CreatedBatch(NamedTuple):
    """The batch of a draft."""

    batch: Json
    existed_before: bool
    """Whether an earlier run created it."""


async def create_batch_once(api: ApiClient, draft: BatchDraft, body: Json, unused_keys: Sequence[str]) -> CreatedBatch:
    """Create the batch with the first key that has no stored rejection and no canceled batch.

    Raises:
        ApiRejected: the API rejects this content now.
        CommandError: every key is used up.

    """
    for key in unused_keys:
        try:
            response = await api.create_batch(body, key)
        except ApiRejected as rejection:
            if rejection.code == "IDEMPOTENCY_KEY_REUSED":
                # Another run with another name or time used the key after `find_earlier_batch`.
                batch = await api.get_batch_by_key(key)
                if batch is not None and batch["status"] != "canceled":
                    return CreatedBatch(batch, existed_before=True)
            elif not rejection.is_replay:
                raise
        else:
            batch = await api.get_batch(response.data["id"]) if response.is_replay else response.data
            if batch["status"] != "canceled":
                return CreatedBatch(batch, existed_before=response.is_replay and response.attempts == 1)
    raise CommandError(
        f"this content was rejected or canceled {KEYS_MAX} times in the last 48 hours; "
        "change it (for example a description) and run the command again"
    )


class NextStep(enum.Enum):
    """What remains to be done with a batch."""

    RELEASE = "release"
    RESCHEDULE = "reschedule"
    FOLLOW = "follow"
    """Nothing: it is released and can be watched."""
    WAIT = "wait"
    """Nothing: it waits as requested."""
    CONFLICT = "conflict"
    """A person must decide: an earlier run scheduled it for another time."""


def next_step(batch: Json, terms: PaymentTerms) -> NextStep:
    """Return what brings a batch to these terms. A time set earlier is never changed."""
    is_waiting = batch["status"] == "queued" or (batch["status"] == "failed" and "failure" in batch)
    if not is_waiting:
        return NextStep.FOLLOW
    scheduled_for = batch.get("scheduledFor") if batch["status"] == "queued" else None
    if scheduled_for is not None:
        is_same_time = terms.scheduled_for is not None and datetime.fromisoformat(scheduled_for) == terms.scheduled_for
        return NextStep.WAIT if is_same_time and not terms.hold else NextStep.CONFLICT
    if terms.hold:
        return NextStep.WAIT
    return NextStep.RELEASE if terms.scheduled_for is None else NextStep.RESCHEDULE
