"""The plan of a payday: what is there already, what would be handed in, what it costs; nothing is written yet."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from shared.cli.client import batch_drafts
from shared.cli.client.api import ApiClient, Json
from shared.cli.client.batch_drafts import BatchDraft, NextStep, PayableRow, PaymentTerms
from shared.cli.client.cells import format_money
from shared.cli.client.csv_table import FileProblem
from shared.cli.client.errors import ApiRejected, CommandError
from shared.cli.client.output import Output
from shared.cli.client.recent_duplicates import PAYOUTS_MAX, RECENT_DAYS, find_recent_duplicates
from shared.cli.client.release_time import check_release_time, format_local_time, format_time
from shared.cli.client.settlement_file import Settlement

DUPLICATE: Final = "DUPLICATE_PAYOUT"
AGAIN: Final = "; --allow-duplicates --reason TEXT pays it again"
COLUMN_OF_FIELD: Final = {"driverId": "driver", "loadId": "load", "description": "description"}


class RowsRejected(CommandError):
    """The API would not take these rows; nothing was handed in."""

    code = "ROWS_REFUSED"

    def __init__(self, problems: list[FileProblem], hint: str) -> None:
        super().__init__(f"{len(problems):,} rows can't be paid; nothing was handed in{hint}")
        self.problems = problems


class PlannedBatch(NamedTuple):
    """One batch of the plan."""

    part: BatchDraft
    body: Json
    batch: Json | None
    """Where an earlier run has handed it in."""
    free: list[str]
    quote: Json
    """What it costs: the API's quote, or the batch itself."""
    step: NextStep
    """What is left to do once it is there."""


class PaymentPlan(NamedTuple):
    """What would be done."""

    planned: list[PlannedBatch]
    available_cents: int
    notes: list[str]

    def sum(self, name: str) -> int:
        """`payoutCount`, `totalAmount`, `totalFees` or `netAmount` of all batches."""
        return sum(int(one.quote[name]) for one in self.planned)

    @property
    def waits(self) -> bool:
        """Whether anything is left to do that needs a yes."""
        return any(one.batch is None or one.step in (NextStep.RELEASE, NextStep.RESCHEDULE) for one in self.planned)

    @property
    def after_cents(self) -> int:
        """What is available once all that is not released yet has been."""
        return self.available_cents - sum(
            int(one.quote["totalAmount"]) for one in self.planned if one.step is not NextStep.FOLLOW
        )

    @property
    def missing_cents(self) -> int:
        """What the wallet lacks for what would be released now."""
        now = sum(int(one.quote["totalAmount"]) for one in self.planned if one.step is NextStep.RELEASE)
        return max(now - self.available_cents, 0)

    def public(self) -> Json:
        """The plan as `--json` shows it."""
        names = ("payoutCount", "totalAmount", "totalFees", "netAmount")
        return {
            **{name: self.sum(name) for name in names},
            "available": self.available_cents,
            "availableAfter": self.after_cents,
            "alreadyHandedIn": [one.batch["id"] for one in self.planned if one.batch is not None],
            "warnings": self.notes,
        }


async def build_payment_plan(
    api: ApiClient, settlement: Settlement, parts: Sequence[BatchDraft], wish: PaymentTerms
) -> PaymentPlan:
    """Looks up what an earlier run has handed in, and has the rest quoted.

    Raises:
        RowsRefused: the API would not take some of the rows, or they are paid already.

    """
    planned: list[PlannedBatch] = []
    problems: list[FileProblem] = []
    refused: list[Json] = []
    notes, doubles, new = _notes(settlement, parts), 0, list[PayableRow]()
    for part in parts:
        found = await batch_drafts.find_earlier_batch(api, part)
        content = batch_drafts.batch_body(part, wish, of_several=len(parts) > 1)
        if found.batch is not None:
            step = batch_drafts.next_step(found.batch, wish)
            if step is NextStep.RESCHEDULE:
                _check_time(wish)
            planned.append(PlannedBatch(part, content, found.batch, [], found.batch, step))
            continue
        _check_time(wish)
        new += part.items
        try:
            quote = await api.quote(content)
        except ApiRejected as no:
            items = no.details.get("items")
            if not isinstance(items, list) or not items:
                raise
            refused += items
            problems += [_problem(item, part, settlement.columns) for item in items]
            continue
        doubles += sum(one.get("code") == "DUPLICATE_LOAD" for one in quote.get("warnings") or ())
        step = NextStep.REST if wish.hold or wish.at is not None else NextStep.RELEASE
        planned.append(PlannedBatch(part, content, None, found.free, quote, step))
    hint = await _hint(api, refused, parts)
    if wish.duplicate_reason is None:
        looked = await find_recent_duplicates(api, new, datetime.now(UTC))
        told = {one.line for one in problems}
        problems += [one for one in looked.problems if one.line not in told]
        if looked.problems and not hint:
            hint = AGAIN
        if not looked.seen_all:
            notes.append(f"rows without a load were compared with the newest {PAYOUTS_MAX:,} payouts alone")
    if doubles:
        notes.append(f"at least {doubles:,} rows pay a load that is paid already, as --allow-duplicates allows")
    if problems:
        raise RowsRejected(sorted(problems, key=lambda one: one.line or 0), hint)
    balance = await api.balance()
    return PaymentPlan(planned, int(balance["available"]), notes)


def print_payment_plan(plan: PaymentPlan, wish: PaymentTerms, api: ApiClient, out: Output, *, name: str) -> None:
    """Prints the plan."""
    drivers = {item.driver.id for one in plan.planned for item in one.part.items}
    out.line(f"{name}: {plan.sum('payoutCount'):,} payouts to {len(drivers):,} drivers", style="bold")
    out.fields(
        [
            ("wallet", f"{api.connection.mode}, at {api.connection.url}"),
            ("batch", wish.name),
            ("urgency", ", ".join(f"{one.part.urgency} ({len(one.part.items):,})" for one in plan.planned)),
            ("amount", format_money(plan.sum("totalAmount"))),
            ("fees", f"{format_money(plan.sum('totalFees'))}, out of the amount; the drivers receive {_net(plan)}"),
            ("available", format_money(plan.available_cents) if plan.waits else None),
            ("afterwards", format_money(plan.after_cents) if plan.waits else None),
            ("when", describe_schedule(wish) if plan.waits else None),
        ]
    )
    for note in plan.notes:
        out.line(f"  note: {note}", style="yellow")
    if wish.at is not None and plan.after_cents < 0:
        out.line(f"  note: {format_money(-plan.after_cents)} more must be in the wallet by then", style="yellow")
    for one in plan.planned:
        if one.batch is not None:
            out.line(describe_existing_batch(one.batch), style="bold")


def describe_schedule(wish: PaymentTerms) -> str:
    """When the money moves."""
    if wish.hold:
        return "not before somebody releases it"
    return "now" if wish.at is None else format_time(wish.at)


def describe_existing_batch(batch: Json) -> str:
    """What is said of a file that was handed in before."""
    waits = (
        ""
        if batch["status"] != "queued" or not batch.get("scheduledFor")
        else f" for {format_local_time(batch['scheduledFor'])}"
    )
    released = batch.get("releasedAt") is not None
    return (
        f"this file was already handed in as {batch['id']} on {format_local_time(batch['createdAt'])}, "
        f"status {batch['status']}{waits}; {'nothing is paid again' if released else 'it is not handed in twice'}"
    )


def _check_time(wish: PaymentTerms) -> None:
    """Only where the time is still needed: the same command, later, follows what it has scheduled."""
    if wish.at is not None:
        check_release_time(wish.at, datetime.now(UTC))


def _net(plan: PaymentPlan) -> str:
    return format_money(plan.sum("netAmount"))


def _notes(settlement: Settlement, parts: Sequence[BatchDraft]) -> list[str]:
    notes = []
    if settlement.unknown_columns:
        names = ", ".join(settlement.unknown_columns)
        notes.append(f"not handed in, for the API has no such field: {names} (the results keep them)")
    without = sum(not item.row.load_id for part in parts for item in part.items)
    if without:
        notes.append(
            f"{without:,} rows have no load: handed in again more than 48 hours from now, or if anything in the file "
            f"changes, they are known by driver, amount and description alone, and for {RECENT_DAYS} days; after that "
            "nothing will tell that they were paid"
        )
    return notes


def _problem(item: dict[str, Any], part: BatchDraft, columns: dict[str, str]) -> FileProblem:
    """A refused item as the row that it comes from."""
    details = item.get("details") or {}
    field = str(details.get("field") or "")
    if field == "amount":
        column = columns.get("dollars") or columns.get("cents") or field
    else:
        column = columns.get(COLUMN_OF_FIELD.get(field, ""), field)
    index = item.get("index")
    known = isinstance(index, int) and 0 <= index < len(part.items)
    line = part.items[index].row.line if known and index is not None else None
    code, message = str(item.get("code", "REFUSED")), str(item.get("error", "refused"))
    if code == DUPLICATE and isinstance(details.get("payoutId"), str):
        message = f"{details['payoutId']} pays this driver for this load already"
    return FileProblem(line, column, f"{message} ({code})")


async def _hint(api: ApiClient, refused: Sequence[Json], parts: Sequence[BatchDraft]) -> str:
    """What to do about loads that are paid already; where that is every row, the file was most likely handed in."""
    doubles = [item for item in refused if item.get("code") == DUPLICATE]
    if not doubles:
        return ""
    first = (doubles[0].get("details") or {}).get("payoutId")
    if len(doubles) < sum(len(part.items) for part in parts) or not isinstance(first, str):
        return AGAIN
    payout = await api.payout(first)
    where = (
        f" (the first in {payout['batchId']}, requested {format_local_time(payout['requestedAt'])})"
        if payout["batchId"]
        else ""
    )
    return f": every load in it is being paid already{where}, so it seems to have been handed in before{AGAIN}"
