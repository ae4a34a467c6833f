"""The commands of `ovnpay payouts`, and `ovnpay balance`."""

from collections.abc import Sequence
from typing import Any

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.command_runner import AccessOptions, run_async_command
from shared.cli.client.errors import ApiRejected, ExitCode
from shared.cli.client.formatting import format_local_time, format_money, format_short_time
from shared.cli.client.output import Output, format_amount

COLUMNS = ("payout", "status", "amount", "fee", "driver", "load", "rail", "requested", "batch")


def print_payouts(access: AccessOptions, status: str | None, driver: str | None, limit: int) -> int:
    """Print payouts, newest first."""

    async def run(api: ApiClient, out: Output) -> int:
        filters = {name: value for name, value in (("status", status), ("driverId", driver)) if value}
        payouts = await collect_items(api, "/payouts", filters, limit)
        out.print_json({"items": payouts})
        if not out.as_json:
            out.print_table(COLUMNS, [_table_row(payout) for payout in payouts], numeric=("amount", "fee"))
        return ExitCode.DONE

    return run_async_command(access, run)


def _table_row(payout: Json) -> list[str]:
    return [
        payout["id"],
        payout["status"],
        format_amount(payout, "amount"),
        format_amount(payout, "fee"),
        payout["driverName"],
        payout["loadId"] or "",
        payout["rail"],
        format_short_time(payout["requestedAt"]),
        payout["batchId"] or "",
    ]


def print_payout(access: AccessOptions, payout_id: str) -> int:
    """Print one payout and its timeline."""

    async def run(api: ApiClient, out: Output) -> int:
        payout, timeline = await api.get_payout(payout_id), await api.get_timeline(payout_id)
        out.print_json(payout if timeline is None else {**payout, "timeline": timeline})
        if not out.as_json:
            _print_fields(payout, out)
            if timeline is not None:
                _print_timeline(timeline, out)
        return ExitCode.DONE

    return run_async_command(access, run)


def _print_fields(payout: Json, out: Output) -> None:
    failure = payout.get("failure")
    out.print_line(payout["id"], style="bold")
    out.print_fields(
        [
            ("status", payout["status"]),
            ("driver", f"{payout['driverName']} ({payout['driverId']})"),
            ("amount", format_amount(payout, "amount")),
            ("fee", format_amount(payout, "fee")),
            ("driver receives", format_amount(payout, "netAmount")),
            ("rail", payout["rail"]),
            ("load", payout["loadId"]),
            ("description", payout["description"]),
            ("batch", payout["batchId"]),
            ("attempt", str(payout["attempt"])),
            ("requested", format_local_time(payout["requestedAt"])),
            ("completed", payout["completedAt"] and format_local_time(payout["completedAt"])),
            ("canceled", payout.get("canceledAt") and format_local_time(payout["canceledAt"])),
            ("failure", failure and f"{failure['code']}: {failure['message']}"),
        ]
    )


def _print_timeline(timeline: Json, out: Output) -> None:
    out.print_line()
    out.print_fields((format_local_time(event["at"]), str(event["title"])) for event in timeline.get("events") or ())
    expected = timeline.get("next")
    if expected:
        by = expected.get("by")
        out.print_line(f"  next: {expected['expected']}{f', by {format_local_time(by)}' if by else ''}")


def cancel_or_retry_each(access: AccessOptions, payout_ids: Sequence[str], action: str) -> int:
    """`cancel` or `retry` each payout."""

    async def run(api: ApiClient, out: Output) -> int:
        results: list[Json] = []
        for payout_id in payout_ids:
            try:
                results.append(await api.post_payout_action(payout_id, action))
                out.print_line(f"{payout_id}: {results[-1]['status']}")
            except ApiRejected as rejection:
                results.append({"id": payout_id, "error": rejection.to_json()})
                out.info(f"{payout_id}: {rejection}")
        out.print_json({"results": results})
        return ExitCode.FAILED if any("error" in result for result in results) else ExitCode.DONE

    return run_async_command(access, run)


def print_balance(access: AccessOptions) -> int:
    """Print the wallet's balance."""

    async def run(api: ApiClient, out: Output) -> int:
        balance = await api.get_balance()
        out.print_json(balance)
        if not out.as_json:
            out.print_fields(
                [
                    ("wallet", f"{api.connection.mode}, at {api.connection.url}"),
                    ("available", f"{format_money(balance['available'])} {balance['currency']}"),
                    ("pending top-ups", format_money(balance["pending"])),
                    ("in transit", format_money(balance["inTransit"])),
                ]
            )
        return ExitCode.DONE

    return run_async_command(access, run)


async def collect_items(api: ApiClient, path: str, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
    """Return the first `limit` items of a list."""
    items: list[dict[str, Any]] = []
    async for item in api.iterate_items(path, filters, page_size=min(limit, 100)):
        items.append(item)
        if len(items) == limit:
            break
    return items
