"""`ovnpay batches …`: looks at batches, releases, moves and calls them off, retries, follows, prints results."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shared.cli.client import release_time as times
from shared.cli.client import results_file, summary
from shared.cli.client.api import ApiClient, Json
from shared.cli.client.command_runner import AccessOptions, Interrupted, run_async_command, run_command
from shared.cli.client.errors import ApiUnreachable, ExitCode, UsageError
from shared.cli.client.follow import follow_batches, is_waiting_for_release
from shared.cli.client.output import Output, format_amount
from shared.cli.client.payouts import collect_items
from shared.cli.client.release_time import format_local_time, format_short_time

COLUMNS = ("batch", "status", "payouts", "amount", "fees", "created", "scheduled for", "name")


def print_batches(access: AccessOptions, status: str | None, limit: int) -> int:
    """Lists batches, newest first."""

    async def ask(api: ApiClient, out: Output) -> int:
        found = await collect_items(api, "/batches", {"status": status} if status else {}, limit)
        out.document({"items": found})
        if not out.as_json:
            out.table(COLUMNS, [_row(batch) for batch in found], right=("payouts", "amount", "fees"))
        return ExitCode.DONE

    return run_async_command(access, ask)


def _row(batch: Json) -> list[str]:
    return [
        batch["id"],
        batch["status"],
        f"{batch['payoutCount']:,}",
        format_amount(batch, "totalAmount"),
        format_amount(batch, "totalFees"),
        format_short_time(batch["createdAt"]),
        format_short_time(batch["scheduledFor"]) if batch["scheduledFor"] else "",
        batch["name"],
    ]


def print_batch(access: AccessOptions, batch_id: str) -> int:
    """Shows one batch and how its payouts stand."""

    async def ask(api: ApiClient, out: Output) -> int:
        batch = await api.batch(batch_id)
        out.document(batch)
        if not out.as_json:
            _show(batch, out)
        return ExitCode.DONE

    return run_async_command(access, ask)


def _show(batch: Json, out: Output) -> None:
    counts = batch.get("countsByStatus") or {}
    failure = batch.get("failure")
    out.line(f"{batch['id']}  {batch['name']}", style="bold")
    out.fields(
        [
            ("status", batch["status"]),
            ("urgency", batch["urgency"]),
            ("payouts", f"{batch['payoutCount']:,}"),
            ("amount", format_amount(batch, "totalAmount")),
            ("fees", format_amount(batch, "totalFees")),
            ("drivers receive", format_amount(batch, "netAmount")),
            ("so far", ", ".join(f"{count:,} {status}" for status, count in counts.items()) or None),
            ("created", format_local_time(batch["createdAt"])),
            ("scheduled for", batch["scheduledFor"] and format_local_time(batch["scheduledFor"])),
            ("released", batch["releasedAt"] and format_local_time(batch["releasedAt"])),
            ("completed", batch["completedAt"] and format_local_time(batch["completedAt"])),
            ("failure", failure and f"{failure['code']}: {failure['message']}"),
        ]
    )


def release_run_or_cancel(access: AccessOptions, batch_id: str, verb: str) -> int:
    """`release`, `run` or `cancel`."""

    async def ask(api: ApiClient, out: Output) -> int:
        done = await api.of_batch(batch_id, verb)
        out.document(done)
        out.line(f"{batch_id}: {done['status']}")
        return ExitCode.DONE

    return run_async_command(access, ask)


def change_release_time(
    access: AccessOptions, batch_id: str, at: str | None, timezone: str | None, *, no_time: bool
) -> int:
    """Gives a batch another time, or none."""

    async def ask(api: ApiClient, out: Output) -> int:
        if (at is None) != no_time:
            raise UsageError("Give --at, or --no-time to have it wait for its release")
        now = datetime.now(UTC)
        moment = None if at is None else times.parse_release_time(at, now, timezone)
        if moment is not None:
            times.check_release_time(moment, now)
        batch = await api.reschedule(batch_id, moment)
        out.document(batch)
        when = "waits to be released" if moment is None else f"is scheduled for {times.format_time(moment)}"
        out.line(f"{batch_id} {when}")
        return ExitCode.DONE

    return run_async_command(access, ask)


def retry_failed_payouts(access: AccessOptions, batch_id: str) -> int:
    """Tries a batch's failed payouts again."""

    async def ask(api: ApiClient, out: Output) -> int:
        done = await api.of_batch(batch_id, "retry-failed")
        out.document(done)
        out.line(f"{batch_id}: {done['retried']:,} tried again, {done['refused']:,} refused")
        for one in done.get("results") or ():
            if one.get("error"):
                who = one.get("payoutId") or (one.get("item") or {}).get("id") or f"number {one.get('index')}"
                out.say(f"{who}: {one['error']}")
        return ExitCode.FAILED if done["refused"] else ExitCode.DONE

    return run_async_command(access, ask)


def print_batch_results(access: AccessOptions, batch_id: str, path: Path | None) -> int:
    """Prints what became of each payout as CSV, or writes it to a file."""

    async def ask(api: ApiClient, out: Output) -> int:
        payouts = [payout async for payout in api.payouts_of(batch_id)]
        if path is not None:
            try:
                results_file.replace_file(path, results_file.format_csv(results_file.batch_results(payouts)))
            except OSError as error:
                raise UsageError(f"{path}: {error.strerror or type(error).__name__}") from None
            out.line(f"{len(payouts):,} payouts written to {path}")
        elif not out.as_json:
            sys.stdout.write(results_file.format_csv(results_file.batch_results(payouts)))
        out.document({"items": payouts} if path is None else {"items": payouts, "results": str(path)})
        return ExitCode.DONE

    return run_async_command(access, ask)


def watch_batches(access: AccessOptions, batch_ids: Sequence[str]) -> int:
    """Watches batches to their end and sums them up."""

    def watch(runner: asyncio.Runner, api: ApiClient, out: Output) -> int:
        again = f"the payouts go on without us. To watch them again: ovnpay batches follow {' '.join(batch_ids)}"
        try:
            return runner.run(_follow(api, batch_ids, out))
        except KeyboardInterrupt:
            raise Interrupted(f"stopped watching; {again}") from None
        except ApiUnreachable as error:
            raise ApiUnreachable(f"{error}; {again}") from None

    return run_command(access, watch)


async def _follow(api: ApiClient, batch_ids: Sequence[str], out: Output) -> int:
    state = await follow_batches(api, batch_ids, out)
    payouts = [payout for batch_id in batch_ids async for payout in api.payouts_of(batch_id)]
    summed = summary.summarize_payouts(payouts, state.batches)
    summary.print_summary(summed, out)
    for batch in state.batches:
        if is_waiting_for_release(batch):
            out.say(f"{batch['id']} waits to be released: ovnpay batches release {batch['id']}")
        if "failure" in batch:
            out.say(f"{batch['id']}: {batch['failure']['message']}")
    out.document({"batches": state.batches, "summary": summed})
    return ExitCode.DONE if payouts and summed["paid"] == len(payouts) else ExitCode.FAILED
