"""Summary of paid batches."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from shared.cli.client.api import Json
from shared.cli.client.formatting import format_money
from shared.cli.client.output import Output


def summarize_payouts(payouts: Sequence[Json], batches: Iterable[Json]) -> Json:
    """Return the summary of the `--json` document; amounts in cents."""
    paid = [payout for payout in payouts if payout["status"] == "completed"]
    unpaid_statuses = Counter(payout["status"] for payout in payouts if payout["status"] != "completed")
    failures = Counter(
        (str(payout["failure"].get("code")), str(payout["failure"].get("message") or ""))
        for payout in payouts
        if payout.get("failure") and payout["status"] != "completed"
    )
    released_at = [batch["releasedAt"] for batch in batches if batch.get("releasedAt")]
    completed_at = [payout["completedAt"] for payout in paid if payout.get("completedAt")]
    return {
        "payoutCount": len(payouts),
        "totalAmount": _sum(payouts, "amount"),
        "paid": len(paid),
        "paidAmount": _sum(paid, "amount"),
        "fees": _sum(paid, "fee"),
        "netAmount": _sum(paid, "netAmount"),
        "notPaid": dict(unpaid_statuses),
        "failures": [
            {"code": code, "message": message, "count": count} for (code, message), count in failures.most_common()
        ],
        "seconds": _seconds_between(min(released_at), max(completed_at)) if released_at and completed_at else None,
    }


def print_summary(summary: Json, out: Output) -> None:
    """Print the summary for people."""
    is_complete = summary["paid"] == summary["payoutCount"]
    title = (
        f"all {summary['paid']:,} paid" if is_complete else f"{summary['paid']:,} of {summary['payoutCount']:,} paid"
    )
    out.print_line(title, style="bold green" if is_complete else "bold red")
    seconds = summary["seconds"]
    out.print_fields(
        [
            ("amount", f"{format_money(summary['paidAmount'])} of {format_money(summary['totalAmount'])}"),
            ("fees", format_money(summary["fees"])),
            ("drivers received", format_money(summary["netAmount"])),
            ("not paid", ", ".join(f"{count:,} {name}" for name, count in summary["notPaid"].items()) or None),
            ("duration", None if seconds is None else f"{seconds:,.1f} s from release to the last payment"),
        ]
    )
    for failure in summary["failures"]:
        out.print_line(f"  {failure['count']:,} payouts: {failure['code']}, {failure['message']}", style="red")


def _sum(payouts: Iterable[Json], name: str) -> int:
    return sum(int(payout[name]) for payout in payouts)


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
