"""What became of a payday: how many were paid, why others were not, what it cost, how long it took."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from shared.cli.client.api import Json
from shared.cli.client.cells import format_money
from shared.cli.client.output import Output


def summarize_payouts(payouts: Sequence[Json], batches: Iterable[Json]) -> Json:
    """The summary as `--json` shows it; amounts in cents."""
    paid = [payout for payout in payouts if payout["status"] == "completed"]
    others = Counter(payout["status"] for payout in payouts if payout["status"] != "completed")
    reasons = Counter(
        (str(payout["failure"].get("code")), str(payout["failure"].get("message") or ""))
        for payout in payouts
        if payout.get("failure") and payout["status"] != "completed"
    )
    released = [batch["releasedAt"] for batch in batches if batch.get("releasedAt")]
    ended = [payout["completedAt"] for payout in paid if payout.get("completedAt")]
    return {
        "payoutCount": len(payouts),
        "totalAmount": _sum(payouts, "amount"),
        "paid": len(paid),
        "paidAmount": _sum(paid, "amount"),
        "fees": _sum(paid, "fee"),
        "netAmount": _sum(paid, "netAmount"),
        "notPaid": dict(others),
        "failures": [
            {"code": code, "message": message, "count": count} for (code, message), count in reasons.most_common()
        ],
        "seconds": _between(min(released), max(ended)) if released and ended else None,
    }


def print_summary(summary: Json, out: Output) -> None:
    """Prints it."""
    whole = summary["paid"] == summary["payoutCount"]
    count, total = f"{summary['paid']:,} of {summary['payoutCount']:,}", summary["payoutCount"]
    title = f"all {total:,} paid" if whole else f"{count} paid"
    out.line(title, style="bold green" if whole else "bold red")
    seconds = summary["seconds"]
    out.fields(
        [
            ("amount", f"{format_money(summary['paidAmount'])} of {format_money(summary['totalAmount'])}"),
            ("fees", format_money(summary["fees"])),
            ("drivers received", format_money(summary["netAmount"])),
            ("not paid", ", ".join(f"{count:,} {name}" for name, count in summary["notPaid"].items()) or None),
            ("took", None if seconds is None else f"{seconds:,.1f} s from release to the last payment"),
        ]
    )
    for failure in summary["failures"]:
        out.line(f"  {failure['count']:,} times {failure['code']}: {failure['message']}", style="red")


def _sum(payouts: Iterable[Json], name: str) -> int:
    return sum(int(payout[name]) for payout in payouts)


def _between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
