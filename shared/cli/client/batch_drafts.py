"""Handing a file in, once: the batches that it becomes, the keys that recognize them, what is left to do with each.

The key is made from what would be paid: who (the carrier's id of the driver), how much, for which load, with which
words, how fast. Not from the file's name, its encoding, the order of its rows, the batch's name or its time: the same
content again is the same payday. A key whose request was refused, or whose batch was canceled, has paid nobody, and the
next one of the row is taken; whoever hands the same content in takes the same row of keys.
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

VERSION: Final = 1
"""Of what the key is made from."""
KEYS_MAX: Final = 5
NAME_LENGTH_MAX: Final = 200


class PayableRow(NamedTuple):
    """A row whose driver is known."""

    row: SettlementRow
    driver: ApiDriver


class BatchDraft(NamedTuple):
    """What becomes one batch: the rows of one urgency."""

    urgency: str
    items: list[PayableRow]

    @property
    def total_cents(self) -> int:
        """What leaves the wallet."""
        return sum(item.row.amount_cents for item in self.items)


class PaymentTerms(NamedTuple):
    """How the file is to be paid."""

    name: str
    at: datetime | None
    hold: bool
    duplicate_reason: str | None
    """Why loads may be paid again; None: they may not."""


def draft_batches(rows: Sequence[SettlementRow], roster: DriverIndex) -> list[BatchDraft]:
    """The rows by urgency, in the order in which the file first names each. Every driver is known."""
    found: dict[str, list[PayableRow]] = {}
    for row in rows:
        driver = roster.find(row.driver)
        if driver is None:
            raise LookupError(f"row {row.line} names nobody")  # checked before
        found.setdefault(row.urgency, []).append(PayableRow(row, driver))
    return [BatchDraft(urgency, items) for urgency, items in found.items()]


def idempotency_keys(part: BatchDraft) -> list[str]:
    """The idempotency keys under which this content may have been handed in, first to last."""
    facts = sorted(
        [item.driver.ovn_driver_id, item.row.amount_cents, item.row.load_id or "", item.row.description or ""]
        for item in part.items
    )
    content = json.dumps([VERSION, part.urgency, facts], ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.sha256(content.encode()).hexdigest()
    return [f"ovnpay-pay-{digest}-{number}" for number in range(1, KEYS_MAX + 1)]


def batch_body(part: BatchDraft, wish: PaymentTerms, *, of_several: bool) -> Json:
    """The body of `POST /batches` and of its quote."""
    name = f"{wish.name} ({part.urgency})" if of_several else wish.name
    whole: Json = {
        "name": name[:NAME_LENGTH_MAX],
        "urgency": part.urgency,
        "refuseDuplicates": True,
        "payouts": [_payout(item, wish.duplicate_reason) for item in part.items],
    }
    return whole if wish.at is None else {**whole, "scheduledFor": wish.at.isoformat()}


def _payout(item: PayableRow, duplicate_reason: str | None) -> Json:
    payout: dict[str, Any] = {"driverId": item.driver.id, "amount": item.row.amount_cents}
    if item.row.description:
        payout["description"] = item.row.description
    if item.row.load_id:
        payout["loadId"] = item.row.load_id
        if duplicate_reason is not None:
            payout |= {"allowDuplicate": True, "duplicateReason": duplicate_reason}
    return payout


class EarlierBatch(NamedTuple):
    """What is there of a part already."""

    batch: Json | None
    free: list[str]
    """Keys that have made nothing, where there is no batch."""


async def find_earlier_batch(api: ApiClient, part: BatchDraft) -> EarlierBatch:
    """Whether this content was handed in within 48 hours, by any of its keys."""
    free = []
    for key in idempotency_keys(part):
        batch = await api.batch_made_by(key)
        if batch is None:
            free.append(key)
        elif batch["status"] != "canceled":
            return EarlierBatch(batch, [])
    return EarlierBatch(None, free)


class CreatedBatch(NamedTuple):
    """A part's batch."""

    batch: Json
    before: bool
    """Whether an earlier run had handed it in."""


async def create_batch_once(api: ApiClient, part: BatchDraft, content: Json, free: Sequence[str]) -> CreatedBatch:
    """Creates the batch under the first key that has not been answered with a refusal before.

    Raises:
        Refused: this content is refused, now.

    """
    for key in free:
        try:
            answer = await api.create(content, key)
        except ApiRejected as refused:
            if refused.code == "IDEMPOTENCY_KEY_REUSED":
                # Another run, with another name or time, has used the key since we looked.
                batch = await api.batch_made_by(key)
                if batch is not None and batch["status"] != "canceled":
                    return CreatedBatch(batch, before=True)
            elif not refused.replayed:
                raise
        else:
            batch = await api.batch(answer.data["id"]) if answer.replayed else answer.data
            if batch["status"] != "canceled":
                return CreatedBatch(batch, before=answer.replayed and answer.tries == 1)
    raise CommandError(
        f"this content was refused or canceled {KEYS_MAX} times within 48 hours; "
        "change something in it (a description will do) and run again"
    )


class NextStep(enum.Enum):
    """What is left to do with a batch."""

    RELEASE = "release"
    RESCHEDULE = "reschedule"
    FOLLOW = "follow"
    """It is released: nothing is left but to watch."""
    REST = "rest"
    """It waits, as asked."""
    DIFFERS = "differs"
    """It waits for another time than was asked for now, which a person has to decide."""


def next_step(batch: Json, wish: PaymentTerms) -> NextStep:
    """What this wish means for a batch that is there. An earlier run's time is never changed silently."""
    waits = batch["status"] == "queued" or (batch["status"] == "failed" and "failure" in batch)
    if not waits:
        return NextStep.FOLLOW
    scheduled = batch.get("scheduledFor") if batch["status"] == "queued" else None
    if scheduled is not None:
        same = wish.at is not None and datetime.fromisoformat(scheduled) == wish.at
        return NextStep.REST if same and not wish.hold else NextStep.DIFFERS
    if wish.hold:
        return NextStep.REST
    return NextStep.RELEASE if wish.at is None else NextStep.RESCHEDULE
