"""The commands of `ovnpay batches`."""

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shared.cli.client import results_file
from shared.cli.client.api import ApiClient, Json
from shared.cli.client.command_runner import AccessOptions, run_async_command, run_command
from shared.cli.client.errors import ApiUnreachable, ExitCode, Interrupted, UsageError
from shared.cli.client.follow import follow_batches, is_waiting_for_release
from shared.cli.client.formatting import format_local_time, format_short_time, format_time
from shared.cli.client.output import Output, format_amount
from shared.cli.client.payouts import collect_items
from shared.cli.client.release_time import check_release_time, parse_release_time
from shared.cli.client.summary import print_summary, summarize_payouts

COLUMNS = ("batch", "status", "payouts", "amount", "fees", "created", "scheduled for", "name")


def print_batches(access: AccessOptions, status: str | None, limit: int) -> int:
    """Print batches, newest first."""

    async def run(api: ApiClient, out: Output) -> int:
        batches = await collect_items(api, "/batches", {"status": status} if status else {}, limit)
        out.print_json({"items": batches})
        if not out.as_json:
            out.print_table(COLUMNS, [_table_row(batch) for batch in batches], numeric=("payouts", "amount", "fees"))
        return ExitCode.DONE

    return run_async_command(access, run)


def _table_row(batch: Json) -> list[str]:
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
    """Print one batch and its payouts by status."""

    async def run(api: ApiClient, out: Output) -> int:
        batch = await api.get_batch(batch_id)
        out.print_json(batch)
        if not out.as_json:
            _print_fields(batch, out)
        return ExitCode.DONE

    return run_async_command(access, run)


def _print_fields(batch: Json, out: Output) -> None:
    counts = batch.get("countsByStatus") or {}
    failure = batch.get("failure")
    out.print_line(f"{batch['id']}  {batch['name']}", style="bold")
    out.print_fields(
        [
            ("status", batch["status"]),
            ("urgency", batch["urgency"]),
            ("payouts", f"{batch['payoutCount']:,}"),
            ("amount", format_amount(batch, "totalAmount")),
            ("fees", format_amount(batch, "totalFees")),
            ("drivers receive", format_amount(batch, "netAmount")),
            ("by status", ", ".join(f"{count:,} {status}" for status, count in counts.items()) or None),
            ("created", format_local_time(batch["createdAt"])),
            ("scheduled for", batch["scheduledFor"] and format_local_time(batch["scheduledFor"])),
            ("released", batch["releasedAt"] and format_local_time(batch["releasedAt"])),
            ("completed", batch["completedAt"] and format_local_time(batch["completedAt"])),
            ("failure", failure and f"{failure['code']}: {failure['message']}"),
        ]
    )


def release_run_or_cancel(access: AccessOptions, batch_id: str, action: str) -> int:
    """`release`, `run` or `cancel` a batch."""

    async def run(api: ApiClient, out: Output) -> int:
        batch = await api.post_batch_action(batch_id, action)
        out.print_json(batch)
        out.print_line(f"{batch_id}: {batch['status']}")
        return ExitCode.DONE

    return run_async_command(access, run)


def change_release_time(
    access: AccessOptions, batch_id: str, at: str | None, timezone: str | None, *, no_time: bool
) -> int:
    """Change or remove the release time."""

    async def run(api: ApiClient, out: Output) -> int:
        if (at is None) != no_time:
            raise UsageError("Give either --at or --no-time; with --no-time the batch waits for its release")
        now = datetime.now(UTC)
        scheduled_for = None if at is None else parse_release_time(at, now, timezone)
        if scheduled_for is not None:
            check_release_time(scheduled_for, now)
        batch = await api.reschedule_batch(batch_id, scheduled_for)
        out.print_json(batch)
        state = "waits for its release" if scheduled_for is None else f"is scheduled for {format_time(scheduled_for)}"
        out.print_line(f"{batch_id} {state}")
        return ExitCode.DONE

    return run_async_command(access, run)


def retry_failed_payouts(access: AccessOptions, batch_id: str) -> int:
    """Retry the failed payouts of a batch."""

    async def run(api: ApiClient, out: Output) -> int:
        response = await api.post_batch_action(batch_id, "retry-failed")
        out.print_json(response)
        out.print_line(f"{batch_id}: {response['retried']:,} retried, {response['refused']:,} rejected")
        for result in response.get("results") or ():
            if result.get("error"):
                item_id = (result.get("item") or {}).get("id")
                payout = result.get("payoutId") or item_id or f"number {result.get('index')}"
                out.info(f"{payout}: {result['error']}")
        return ExitCode.FAILED if response["refused"] else ExitCode.DONE

    return run_async_command(access, run)


def print_batch_results(access: AccessOptions, batch_id: str, path: Path | None) -> int:
    """Print the outcome of each payout as CSV, or write it to a file."""

    async def run(api: ApiClient, out: Output) -> int:
        payouts = [payout async for payout in api.iterate_batch_payouts(batch_id)]
        content = results_file.format_csv(results_file.batch_results(payouts))
        if path is not None:
            try:
                results_file.replace_file(path, content)
            except OSError as error:
                raise UsageError(f"{path}: {error.strerror or type(error).__name__}") from None
            out.print_line(f"{len(payouts):,} payouts written to {path}")
        elif not out.as_json:
            sys.stdout.write(content)
        out.print_json({"items": payouts} if path is None else {"items": payouts, "results": str(path)})
        return ExitCode.DONE

    return run_async_command(access, run)


def watch_batches(access: AccessOptions, batch_ids: Sequence[str]) -> int:
    """Follow batches and print a summary; fail unless all payouts are paid."""

    def watch(runner: asyncio.Runner, api: ApiClient, out: Output) -> int:
        hint = f"the payouts continue. To watch them again: ovnpay batches follow {' '.join(batch_ids)}"
        try:
            return runner.run(_follow_and_summarize(api, batch_ids, out))
        except KeyboardInterrupt:
            raise Interrupted(f"stopped watching; {hint}") from None
        except ApiUnreachable as error:
            raise ApiUnreachable(f"{error}; {hint}") from None

    return run_command(access, watch)


async def _follow_and_summarize(api: ApiClient, batch_ids: Sequence[str], out: Output) -> int:
    state = await follow_batches(api, batch_ids, out)
    payouts = [payout for batch_id in batch_ids async for payout in api.iterate_batch_payouts(batch_id)]
    summary = summarize_payouts(payouts, state.batches)
    print_summary(summary, out)
    for batch in state.batches:
        if is_waiting_for_release(batch):
            out.info(f"{batch['id']} waits for its release: ovnpay batches release {batch['id']}")
        if "failure" in batch:
            out.info(f"{batch['id']}: {batch['failure']['message']}")
    out.print_json({"batches": state.batches, "summary": summary})
    return ExitCode.DONE if payouts and summary["paid"] == len(payouts) else ExitCode.FAILED
