"""Prints the plan of `ovnpay pay` for people."""

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.batch_drafts import PaymentTerms
from shared.cli.client.formatting import format_local_time, format_money, format_time
from shared.cli.client.output import Output
from shared.cli.client.payment_plan import PaymentPlan


def print_payment_plan(plan: PaymentPlan, terms: PaymentTerms, api: ApiClient, out: Output, *, file_name: str) -> None:
    """Print the plan."""
    driver_ids = {payable.driver.id for planned in plan.planned for payable in planned.draft.rows}
    payouts = f"{plan.total('payoutCount'):,} payouts to {len(driver_ids):,} drivers"
    out.print_line(f"{file_name}: {payouts}", style="bold")
    is_open = plan.needs_confirmation
    net = format_money(plan.total("netAmount"))
    drafts = [planned.draft for planned in plan.planned]
    out.print_fields(
        [
            ("wallet", f"{api.connection.mode}, at {api.connection.url}"),
            ("batch", terms.name),
            ("urgency", ", ".join(f"{draft.urgency} ({len(draft.rows):,})" for draft in drafts)),
            ("amount", format_money(plan.total("totalAmount"))),
            ("fees", f"{format_money(plan.total('totalFees'))}, deducted from the amount; the drivers receive {net}"),
            ("available", format_money(plan.available_cents) if is_open else None),
            ("afterwards", format_money(plan.available_after_cents) if is_open else None),
            ("when", describe_schedule(terms) if is_open else None),
        ]
    )
    for note in plan.notes:
        out.print_line(f"  note: {note}", style="yellow")
    if terms.scheduled_for is not None and plan.available_after_cents < 0:
        shortfall = format_money(-plan.available_after_cents)
        out.print_line(f"  note: the wallet needs another {shortfall} by then", style="yellow")
    for planned in plan.planned:
        if planned.batch is not None:
            out.print_line(describe_existing_batch(planned.batch), style="bold")


def describe_schedule(terms: PaymentTerms) -> str:
    """Return when the batches are released."""
    if terms.hold:
        return "not before a person releases it"
    return "now" if terms.scheduled_for is None else format_time(terms.scheduled_for)


def describe_existing_batch(batch: Json) -> str:
    """Describe the batch of an earlier run."""
    is_scheduled = batch["status"] == "queued" and batch.get("scheduledFor")
    schedule = f" for {format_local_time(batch['scheduledFor'])}" if is_scheduled else ""
    consequence = "nothing is paid again" if batch.get("releasedAt") is not None else "it is not submitted twice"
    return (
        f"this file was already submitted as {batch['id']} on {format_local_time(batch['createdAt'])}, "
        f"status {batch['status']}{schedule}; {consequence}"
    )
