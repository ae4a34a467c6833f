"""`ovnpay payouts …` and `ovnpay balance`: looks at single payouts, calls them off, tries them again."""

from collections.abc import Sequence
from typing import Any

from shared.cli.client.api import Api, Json
from shared.cli.client.cells import money
from shared.cli.client.errors import Exit, Refused
from shared.cli.client.output import Output, amount
from shared.cli.client.release_time import here, short
from shared.cli.client.run_command import Access, asking

COLUMNS = ("payout", "status", "amount", "fee", "driver", "load", "rail", "requested", "batch")


def listed(access: Access, status: str | None, driver: str | None, limit: int) -> int:
    """Lists payouts, newest first."""

    async def ask(api: Api, out: Output) -> int:
        filters = {name: value for name, value in (("status", status), ("driverId", driver)) if value}
        found = await taken(api, "/payouts", filters, limit)
        out.document({"items": found})
        if not out.as_json:
            out.table(COLUMNS, [row(payout) for payout in found], right=("amount", "fee"))
        return Exit.DONE

    return asking(access, ask)


def row(payout: Json) -> list[str]:
    """A payout as a line of a table."""
    return [
        payout["id"],
        payout["status"],
        amount(payout, "amount"),
        amount(payout, "fee"),
        payout["driverName"],
        payout["loadId"] or "",
        payout["rail"],
        short(payout["requestedAt"]),
        payout["batchId"] or "",
    ]


def shown(access: Access, payout_id: str) -> int:
    """Shows one payout, and what has happened to it where the API tells."""

    async def ask(api: Api, out: Output) -> int:
        payout, timeline = await api.payout(payout_id), await api.timeline(payout_id)
        out.document(payout if timeline is None else {**payout, "timeline": timeline})
        if out.as_json:
            return Exit.DONE
        failure = payout.get("failure")
        out.line(payout["id"], style="bold")
        out.fields(
            [
                ("status", payout["status"]),
                ("driver", f"{payout['driverName']} ({payout['driverId']})"),
                ("amount", amount(payout, "amount")),
                ("fee", amount(payout, "fee")),
                ("driver receives", amount(payout, "netAmount")),
                ("rail", payout["rail"]),
                ("load", payout["loadId"]),
                ("description", payout["description"]),
                ("batch", payout["batchId"]),
                ("attempt", str(payout["attempt"])),
                ("requested", here(payout["requestedAt"])),
                ("completed", payout["completedAt"] and here(payout["completedAt"])),
                ("canceled", payout.get("canceledAt") and here(payout["canceledAt"])),
                ("failure", failure and f"{failure['code']}: {failure['message']}"),
            ]
        )
        if timeline is not None:
            _show_timeline(timeline, out)
        return Exit.DONE

    return asking(access, ask)


def _show_timeline(timeline: Json, out: Output) -> None:
    out.line()
    out.fields((here(event["at"]), str(event["title"])) for event in timeline.get("events") or ())
    expected = timeline.get("next")
    if expected:
        by = expected.get("by")
        out.line(f"  next: {expected['expected']}{f', by {here(by)}' if by else ''}")


def decided(access: Access, payout_ids: Sequence[str], verb: str) -> int:
    """`cancel` or `retry`, one after another; the exit code is 1 where one of them was refused."""

    async def ask(api: Api, out: Output) -> int:
        done: list[Json] = []
        for payout_id in payout_ids:
            try:
                done.append(await api.of_payout(payout_id, verb))
                out.line(f"{payout_id}: {done[-1]['status']}")
            except Refused as refused:
                done.append({"id": payout_id, "error": refused.public()})
                out.say(f"{payout_id}: {refused}")
        out.document({"results": done})
        return Exit.FAILED if any("error" in one for one in done) else Exit.DONE

    return asking(access, ask)


def balance(access: Access) -> int:
    """Shows the wallet's money."""

    async def ask(api: Api, out: Output) -> int:
        found = await api.balance()
        out.document(found)
        if not out.as_json:
            out.fields(
                [
                    ("wallet", f"{api.connection.mode}, at {api.connection.url}"),
                    ("available", f"{money(found['available'])} {found['currency']}"),
                    ("on its way in", money(found["pending"])),
                    ("on its way out", money(found["inTransit"])),
                ]
            )
        return Exit.DONE

    return asking(access, ask)


async def taken(api: Api, path: str, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
    """The first so many of a list."""
    found: list[dict[str, Any]] = []
    async for item in api.each(path, filters, page_size=min(limit, 100)):
        found.append(item)
        if len(found) == limit:
            break
    return found
