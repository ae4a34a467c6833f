"""`ovnpay batches …`: looks at batches, releases, moves and calls them off, retries, follows, prints results."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shared.cli.client import release_time as times
from shared.cli.client import results, summary
from shared.cli.client.api import Api, Json
from shared.cli.client.errors import Exit, Misused, Unreachable
from shared.cli.client.follow import follow, held
from shared.cli.client.output import Output, amount
from shared.cli.client.payouts import taken
from shared.cli.client.release_time import here, short
from shared.cli.client.run_command import Access, Interrupted, asking, command

COLUMNS = ("batch", "status", "payouts", "amount", "fees", "created", "scheduled for", "name")


def listed(access: Access, status: str | None, limit: int) -> int:
    """Lists batches, newest first."""

    async def ask(api: Api, out: Output) -> int:
        found = await taken(api, "/batches", {"status": status} if status else {}, limit)
        out.document({"items": found})
        if not out.as_json:
            out.table(COLUMNS, [_row(batch) for batch in found], right=("payouts", "amount", "fees"))
        return Exit.DONE

    return asking(access, ask)


def _row(batch: Json) -> list[str]:
    return [
        batch["id"],
        batch["status"],
        f"{batch['payoutCount']:,}",
        amount(batch, "totalAmount"),
        amount(batch, "totalFees"),
        short(batch["createdAt"]),
        short(batch["scheduledFor"]) if batch["scheduledFor"] else "",
        batch["name"],
    ]


def shown(access: Access, batch_id: str) -> int:
    """Shows one batch and how its payouts stand."""

    async def ask(api: Api, out: Output) -> int:
        batch = await api.batch(batch_id)
        out.document(batch)
        if not out.as_json:
            _show(batch, out)
        return Exit.DONE

    return asking(access, ask)


def _show(batch: Json, out: Output) -> None:
    counts = batch.get("countsByStatus") or {}
    failure = batch.get("failure")
    out.line(f"{batch['id']}  {batch['name']}", style="bold")
    out.fields(
        [
            ("status", batch["status"]),
            ("urgency", batch["urgency"]),
            ("payouts", f"{batch['payoutCount']:,}"),
            ("amount", amount(batch, "totalAmount")),
            ("fees", amount(batch, "totalFees")),
            ("drivers receive", amount(batch, "netAmount")),
            ("so far", ", ".join(f"{count:,} {status}" for status, count in counts.items()) or None),
            ("created", here(batch["createdAt"])),
            ("scheduled for", batch["scheduledFor"] and here(batch["scheduledFor"])),
            ("released", batch["releasedAt"] and here(batch["releasedAt"])),
            ("completed", batch["completedAt"] and here(batch["completedAt"])),
            ("failure", failure and f"{failure['code']}: {failure['message']}"),
        ]
    )


def decided(access: Access, batch_id: str, verb: str) -> int:
    """`release`, `run` or `cancel`."""

    async def ask(api: Api, out: Output) -> int:
        done = await api.of_batch(batch_id, verb)
        out.document(done)
        out.line(f"{batch_id}: {done['status']}")
        return Exit.DONE

    return asking(access, ask)


def rescheduled(access: Access, batch_id: str, at: str | None, timezone: str | None, *, no_time: bool) -> int:
    """Gives a batch another time, or none."""

    async def ask(api: Api, out: Output) -> int:
        if (at is None) != no_time:
            raise Misused("Give --at, or --no-time to have it wait for its release")
        now = datetime.now(UTC)
        moment = None if at is None else times.moment(at, now, timezone)
        if moment is not None:
            times.check(moment, now)
        batch = await api.reschedule(batch_id, moment)
        out.document(batch)
        when = "waits to be released" if moment is None else f"is scheduled for {times.described(moment)}"
        out.line(f"{batch_id} {when}")
        return Exit.DONE

    return asking(access, ask)


def retried(access: Access, batch_id: str) -> int:
    """Tries a batch's failed payouts again."""

    async def ask(api: Api, out: Output) -> int:
        done = await api.of_batch(batch_id, "retry-failed")
        out.document(done)
        out.line(f"{batch_id}: {done['retried']:,} tried again, {done['refused']:,} refused")
        for one in done.get("results") or ():
            if one.get("error"):
                who = one.get("payoutId") or (one.get("item") or {}).get("id") or f"number {one.get('index')}"
                out.say(f"{who}: {one['error']}")
        return Exit.FAILED if done["refused"] else Exit.DONE

    return asking(access, ask)


def printed(access: Access, batch_id: str, path: Path | None) -> int:
    """Prints what became of each payout as CSV, or writes it to a file."""

    async def ask(api: Api, out: Output) -> int:
        payouts = [payout async for payout in api.payouts_of(batch_id)]
        if path is not None:
            try:
                results.write(path, results.text(results.of_batch(payouts)))
            except OSError as error:
                raise Misused(f"{path}: {error.strerror or type(error).__name__}") from None
            out.line(f"{len(payouts):,} payouts written to {path}")
        elif not out.as_json:
            sys.stdout.write(results.text(results.of_batch(payouts)))
        out.document({"items": payouts} if path is None else {"items": payouts, "results": str(path)})
        return Exit.DONE

    return asking(access, ask)


def followed(access: Access, batch_ids: Sequence[str]) -> int:
    """Watches batches to their end and sums them up."""

    def watch(runner: asyncio.Runner, api: Api, out: Output) -> int:
        again = f"the payouts go on without us. To watch them again: ovnpay batches follow {' '.join(batch_ids)}"
        try:
            return runner.run(_follow(api, batch_ids, out))
        except KeyboardInterrupt:
            raise Interrupted(f"stopped watching; {again}") from None
        except Unreachable as error:
            raise Unreachable(f"{error}; {again}") from None

    return command(access, watch)


async def _follow(api: Api, batch_ids: Sequence[str], out: Output) -> int:
    state = await follow(api, batch_ids, out)
    payouts = [payout for batch_id in batch_ids async for payout in api.payouts_of(batch_id)]
    summed = summary.of(payouts, state.batches)
    summary.show(summed, out)
    for batch in state.batches:
        if held(batch):
            out.say(f"{batch['id']} waits to be released: ovnpay batches release {batch['id']}")
        if "failure" in batch:
            out.say(f"{batch['id']}: {batch['failure']['message']}")
    out.document({"batches": state.batches, "summary": summed})
    return Exit.DONE if payouts and summed["paid"] == len(payouts) else Exit.FAILED
