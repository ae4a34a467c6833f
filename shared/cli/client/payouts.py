"""`ovnpay payouts …` and `ovnpay balance`: looks at single payouts, calls them off, tries them again."""

from collections.abc import Sequence
from typing import Any

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.cells import format_money
from shared.cli.client.command_runner import AccessOptions, run_async_command
from shared.cli.client.errors import ApiRejected, ExitCode
from shared.cli.client.output import Output, format_amount
from shared.cli.client.release_time import format_local_time, format_short_time

COLUMNS = ("payout", "status", "amount", "fee", "driver", "load", "rail", "requested", "batch")


def print_payouts(access: AccessOptions, status: str | None, driver: str | None, limit: int) -> int:
    """Lists payouts, newest first."""

    async def ask(api: ApiClient, out: Output) -> int:
        filters = {name: value for name, value in (("status", status), ("driverId", driver)) if value}
        found = await collect_items(api, "/payouts", filters, limit)
        out.document({"items": found})
        if not out.as_json:
            out.table(COLUMNS, [payout_table_row(payout) for payout in found], right=("amount", "fee"))
        return ExitCode.DONE

    return run_async_command(access, ask)


def payout_table_row(payout: Json) -> list[str]:
    """A payout as a line of a table."""
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
    """Shows one payout, and what has happened to it where the API tells."""

    async def ask(api: ApiClient, out: Output) -> int:
        payout, timeline = await api.payout(payout_id), await api.timeline(payout_id)
        out.document(payout if timeline is None else {**payout, "timeline": timeline})
        if out.as_json:
            return ExitCode.DONE
        failure = payout.get("failure")
        out.line(payout["id"], style="bold")
        out.fields(
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
        if timeline is not None:
            _show_timeline(timeline, out)
        return ExitCode.DONE

    return run_async_command(access, ask)


def _show_timeline(timeline: Json, out: Output) -> None:
    out.line()
    out.fields((format_local_time(event["at"]), str(event["title"])) for event in timeline.get("events") or ())
    expected = timeline.get("next")
    if expected:
        by = expected.get("by")
        out.line(f"  next: {expected['expected']}{f', by {format_local_time(by)}' if by else ''}")


def cancel_or_retry_each(access: AccessOptions, payout_ids: Sequence[str], verb: str) -> int:
    """`cancel` or `retry`, one after another; the exit code is 1 where one of them was refused."""

    async def ask(api: ApiClient, out: Output) -> int:
        done: list[Json] = []
        for payout_id in payout_ids:
            try:
                done.append(await api.of_payout(payout_id, verb))
                out.line(f"{payout_id}: {done[-1]['status']}")
            except ApiRejected as refused:
                done.append({"id": payout_id, "error": refused.public()})
                out.say(f"{payout_id}: {refused}")
        out.document({"results": done})
        return ExitCode.FAILED if any("error" in one for one in done) else ExitCode.DONE

    return run_async_command(access, ask)


def print_balance(access: AccessOptions) -> int:
    """Shows the wallet's money."""

    async def ask(api: ApiClient, out: Output) -> int:
        found = await api.balance()
        out.document(found)
        if not out.as_json:
            out.fields(
                [
                    ("wallet", f"{api.connection.mode}, at {api.connection.url}"),
                    ("available", f"{format_money(found['available'])} {found['currency']}"),
                    ("on its way in", format_money(found["pending"])),
                    ("on its way out", format_money(found["inTransit"])),
                ]
            )
        return ExitCode.DONE

    return run_async_command(access, ask)


async def collect_items(api: ApiClient, path: str, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
    """The first so many of a list."""
    found: list[dict[str, Any]] = []
    async for item in api.each(path, filters, page_size=min(limit, 100)):
        found.append(item)
        if len(found) == limit:
            break
    return found
