"""Command line of `ovnpay batches …`."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.client.parameters import (
    ACCESS_HELP,
    EXIT_CODES_HELP,
    At,
    BatchId,
    Json,
    Key,
    Limit,
    Url,
    Zone,
    access_options,
)

batches_app = typer.Typer(
    no_args_is_help=True,
    help="Batches: list, show, release, reschedule, cancel, retry, follow, results.",
    epilog=EXIT_CODES_HELP + ACCESS_HELP,
)


@batches_app.command("list")
def batches_list(
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            help="Only batches with this status: queued, processing, completed, failed, canceled.",
            show_default=False,
        ),
    ] = None,
    limit: Limit = 20,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """List batches, newest first."""
    from shared.cli.client.batches import print_batches

    raise typer.Exit(print_batches(access_options(url, key, json), status, limit))


@batches_app.command("show")
def batches_show(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Show a batch and its payouts by status."""
    from shared.cli.client.batches import print_batch

    raise typer.Exit(print_batch(access_options(url, key, json), batch_id))


@batches_app.command("release")
def batches_release(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Pay a batch now; no effect if it is already released."""
    from shared.cli.client.batches import release_run_or_cancel

    raise typer.Exit(release_run_or_cancel(access_options(url, key, json), batch_id, "release"))


@batches_app.command("run")
def batches_run(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Pay a scheduled batch now, before its time."""
    from shared.cli.client.batches import release_run_or_cancel

    raise typer.Exit(release_run_or_cancel(access_options(url, key, json), batch_id, "run"))


@batches_app.command("cancel")
def batches_cancel(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Cancel a batch that is not released."""
    from shared.cli.client.batches import release_run_or_cancel

    raise typer.Exit(release_run_or_cancel(access_options(url, key, json), batch_id, "cancel"))


@batches_app.command("reschedule")
def batches_reschedule(
    batch_id: BatchId,
    at: At = None,
    timezone: Zone = None,
    no_time: Annotated[bool, typer.Option("--no-time", help="Remove the time; the batch then waits.")] = False,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Change the release time of a batch that waits, or remove it."""
    from shared.cli.client.batches import change_release_time

    access = access_options(url, key, json)
    raise typer.Exit(change_release_time(access, batch_id, at, timezone, no_time=no_time))


@batches_app.command("retry-failed")
def batches_retry_failed(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Retry the failed payouts of a batch."""
    from shared.cli.client.batches import retry_failed_payouts

    raise typer.Exit(retry_failed_payouts(access_options(url, key, json), batch_id))


@batches_app.command("results")
def batches_results(
    batch_id: BatchId,
    results: Annotated[
        Path | None, typer.Option("--results", help="Write to this file. Default: stdout.", show_default=False)
    ] = None,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Print the outcome of each payout of a batch as CSV."""
    from shared.cli.client.batches import print_batch_results

    raise typer.Exit(print_batch_results(access_options(url, key, json), batch_id, results))


@batches_app.command("follow")
def batches_follow(
    batch_ids: Annotated[list[str], typer.Argument(help="Batch ids, batch_….", metavar="BATCH...")],
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Watch batches until every payout is finished; Ctrl-C stops watching, not paying."""
    from shared.cli.client.batches import watch_batches

    raise typer.Exit(watch_batches(access_options(url, key, json), batch_ids))
