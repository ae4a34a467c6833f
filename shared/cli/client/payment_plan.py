"""The plan of `ovnpay pay`. Building it writes nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from shared.cli.client import batch_drafts
from shared.cli.client.api import ApiClient, Json
from shared.cli.client.batch_drafts import BatchDraft, NextStep, PayableRow, PaymentTerms
from shared.cli.client.csv_table import FileProblem
from shared.cli.client.errors import ApiRejected, CommandError
from shared.cli.client.formatting import format_local_time
from shared.cli.client.recent_duplicates import PAYOUTS_MAX, RECENT_DAYS, find_recent_duplicates
from shared.cli.client.release_time import check_release_time
from shared.cli.client.settlement_file import Settlement

DUPLICATE_CODE: Final = "DUPLICATE_PAYOUT"
PAY_AGAIN_HINT: Final = "; --allow-duplicates --reason TEXT pays it again"
SETTLEMENT_FIELDS: Final = {"driverId": "driver", "loadId": "load", "description": "description"}
"""Settlement field of each request field that an error of the API can name."""


class RowsRejected(CommandError):
    """The API would reject rows; nothing was submitted."""

    code = "ROWS_REFUSED"

    def __init__(self, problems: list[FileProblem], hint: str) -> None:
        super().__init__(f"{len(problems):,} rows can't be paid; nothing was submitted{hint}")
        self.problems = problems


class PlannedBatch(NamedTuple):
    """One batch of the plan."""

    draft: BatchDraft
    body: Json
    batch: Json | None
    """The batch, if an earlier run created it."""
    unused_keys: list[str]
    quote: Json
    """The cost: the API's quote, or the existing batch itself."""
    step: NextStep
    """What remains to be done once the batch exists."""


class PaymentPlan(NamedTuple):
    """Everything that the command would do."""

    planned: list[PlannedBatch]
    available_cents: int
    notes: list[str]

    def total(self, name: str) -> int:
        """Return `payoutCount`, `totalAmount`, `totalFees` or `netAmount` of all batches."""
        return sum(int(planned.quote[name]) for planned in self.planned)

    @property
    def needs_confirmation(self) -> bool:
        """Whether carrying out the plan changes anything."""
        steps = (NextStep.RELEASE, NextStep.RESCHEDULE)
        return any(planned.batch is None or planned.step in steps for planned in self.planned)

    @property
    def available_after_cents(self) -> int:
        """Balance after every unreleased batch is released."""
        return self.available_cents - sum(
            int(planned.quote["totalAmount"]) for planned in self.planned if planned.step is not NextStep.FOLLOW
        )

    @property
    def missing_cents(self) -> int:
        """Shortfall for the batches that would be released now."""
        needed_cents = sum(
            int(planned.quote["totalAmount"]) for planned in self.planned if planned.step is NextStep.RELEASE
        )
        return max(needed_cents - self.available_cents, 0)

    def to_json(self) -> Json:
        """Return the plan for the `--json` document."""
        names = ("payoutCount", "totalAmount", "totalFees", "netAmount")
        return {
            **{name: self.total(name) for name in names},
            "available": self.available_cents,
            "availableAfter": self.available_after_cents,
            "alreadyHandedIn": [planned.batch["id"] for planned in self.planned if planned.batch is not None],
            "warnings": self.notes,
        }


async def build_payment_plan(
    api: ApiClient, settlement: Settlement, drafts: Sequence[BatchDraft], terms: PaymentTerms
) -> PaymentPlan:
    """Find the batches that an earlier run created and quote the others.

    Raises:
        RowsRejected: the API would reject some rows, or they are already paid.

    """
    planned: list[PlannedBatch] = []
    problems: list[FileProblem] = []
    rejected_items: list[Json] = []
    new_rows: list[PayableRow] = []
    duplicate_count = 0
    for draft in drafts:
        earlier = await batch_drafts.find_earlier_batch(api, draft)
        body = batch_drafts.batch_body(draft, terms, is_one_of_several=len(drafts) > 1)
        if earlier.batch is not None:
            step = batch_drafts.next_step(earlier.batch, terms)
            if step is NextStep.RESCHEDULE:
                _check_schedule(terms)
            planned.append(PlannedBatch(draft, body, earlier.batch, [], earlier.batch, step))
            continue
        _check_schedule(terms)
        new_rows += draft.rows
        try:
            quote = await api.quote_batch(body)
        except ApiRejected as rejection:
            items = rejection.details.get("items")
            if not isinstance(items, list) or not items:
                raise
            rejected_items += items
            problems += [_item_problem(item, draft, settlement.columns) for item in items]
            continue
        duplicate_count += sum(warning.get("code") == "DUPLICATE_LOAD" for warning in quote.get("warnings") or ())
        step = NextStep.WAIT if terms.hold or terms.scheduled_for is not None else NextStep.RELEASE
        planned.append(PlannedBatch(draft, body, None, earlier.unused_keys, quote, step))
    notes = _file_notes(settlement, drafts)
    hint = await _duplicates_hint(api, rejected_items, drafts)
    if terms.duplicate_reason is None:
        recent = await find_recent_duplicates(api, new_rows, datetime.now(UTC))
        rejected_lines = {problem.line for problem in problems}
        problems += [problem for problem in recent.problems if problem.line not in rejected_lines]
        if recent.problems and not hint:
            hint = PAY_AGAIN_HINT
        if not recent.is_complete:
            notes.append(f"rows without a load were compared with the latest {PAYOUTS_MAX:,} payouts only")
    if duplicate_count:
        notes.append(f"at least {duplicate_count:,} rows pay a load again, as --allow-duplicates permits")
    if problems:
        raise RowsRejected(sorted(problems, key=lambda problem: problem.line or 0), hint)
    balance = await api.get_balance()
    return PaymentPlan(planned, int(balance["available"]), notes)


def _check_schedule(terms: PaymentTerms) -> None:
    if terms.scheduled_for is not None:
        check_release_time(terms.scheduled_for, datetime.now(UTC))


def _file_notes(settlement: Settlement, drafts: Sequence[BatchDraft]) -> list[str]:
    notes = []
    if settlement.unknown_columns:
        names = ", ".join(settlement.unknown_columns)
        notes.append(f"columns that the API doesn't have are ignored and kept in the results: {names}")
    without_load = sum(not payable.row.load_id for draft in drafts for payable in draft.rows)
    if without_load:
        notes.append(
            f"{without_load:,} rows have no load. If the file is submitted again after 48 hours, or with changes, they "
            f"are recognized by driver, amount and description only, and only for {RECENT_DAYS} days"
        )
    return notes


def _item_problem(item: dict[str, Any], draft: BatchDraft, columns: dict[str, str]) -> FileProblem:
    details = item.get("details") or {}
    field = str(details.get("field") or "")
    if field == "amount":
        column = columns.get("dollars") or columns.get("cents") or field
    else:
        column = columns.get(SETTLEMENT_FIELDS.get(field, ""), field)
    index = item.get("index")
    line = draft.rows[index].row.line if isinstance(index, int) and 0 <= index < len(draft.rows) else None
    code, message = str(item.get("code", "REFUSED")), str(item.get("error", "rejected"))
    if code == DUPLICATE_CODE and isinstance(details.get("payoutId"), str):
        message = f"{details['payoutId']} already pays this driver for this load"
    return FileProblem(line, column, f"{message} ({code})")


async def _duplicates_hint(api: ApiClient, rejected_items: Sequence[Json], drafts: Sequence[BatchDraft]) -> str:
    duplicates = [item for item in rejected_items if item.get("code") == DUPLICATE_CODE]
    if not duplicates:
        return ""
    first_id = (duplicates[0].get("details") or {}).get("payoutId")
    if len(duplicates) < sum(len(draft.rows) for draft in drafts) or not isinstance(first_id, str):
        return PAY_AGAIN_HINT
    first = await api.get_payout(first_id)
    requested_at = format_local_time(first["requestedAt"])
    where = f" (the first in {first['batchId']}, requested {requested_at})" if first["batchId"] else ""
    return f": every load in it is already being paid{where}; it was probably submitted before{PAY_AGAIN_HINT}"
