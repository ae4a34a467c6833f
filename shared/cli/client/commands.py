"""The commands of a payroll clerk, who has an API key and nothing else: their names, options and help."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from shared.cli.client.command_runner import AccessOptions

PANEL: Final = "Clients of the API (need a URL and a key)"

EXIT_CODES_HELP: Final = (
    "Exit codes: 0 all paid, or scheduled, or held, as asked; 1 a payout failed, or the API refused something; "
    "2 nothing was handed in: the command or the file is wrong, or the answer was no; 3 the API can't be reached or "
    "its answer was lost, and it is safe to run the command again; 130 interrupted, which stops the command and not "
    "the payments.\n\n"
)
ACCESS_HELP: Final = (
    "The API and the key: --url and --key, else OVNPAY_API_URL and OVNPAY_API_KEY (or OVNPAY_API_KEY_FILE with the "
    "path of a file), else the stack that `ovnpay up` runs in this folder."
)
PAY_HELP: Final = (
    "Pay everybody in a file, once.\n\n"
    "Columns, in any order and any spelling of case, spaces and underscores: the driver (driver, driverId or "
    "ovnDriverId: OVN Pay's id or your own), the amount (amount in dollars, or amount_cents), and if you like loadId, "
    "description and urgency.\n\n"
    "Every row is checked first; with one error nothing is sent. The same content handed in again, under whatever "
    "name, pays nobody twice and follows the first: for 48 hours by the content, after that, or if anything in it "
    "changes, by its loads, which are paid once unless --allow-duplicates. A row without a load is refused for 7 days "
    "where its driver was paid the same amount with the same description. What became of each row is written to "
    "FILE.results.csv."
)

Url = Annotated[str | None, typer.Option("--url", help="Where the API is; else OVNPAY_API_URL.", show_default=False)]
Key = Annotated[
    str | None, typer.Option("--key", help="The API key; better OVNPAY_API_KEY or …_KEY_FILE.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; all else on stderr.")]
Status = Annotated[str | None, typer.Option("--status", help="Only those in this status.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at the most.")]
PayoutId = Annotated[str, typer.Argument(help="The payout's id, pay_….", metavar="PAYOUT")]
PayoutIds = Annotated[list[str], typer.Argument(help="Ids of payouts, pay_….", metavar="PAYOUT...")]
BatchId = Annotated[str, typer.Argument(help="The batch's id, batch_….", metavar="BATCH")]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        help='When: "Friday 17:00", "tomorrow 9am", "17:00", "2026-11-27 17:00", or ISO 8601.',
        show_default=False,
    ),
]
Zone = Annotated[
    str | None,
    typer.Option(
        "--timezone", help="Whose clock --at means, as America/Chicago; else this machine's.", show_default=False
    ),
]

payouts = typer.Typer(
    no_args_is_help=True,
    help="Single payouts: list, show, cancel, retry; and resolve, for operators.",
    epilog=EXIT_CODES_HELP + ACCESS_HELP,
)
batches = typer.Typer(
    no_args_is_help=True,
    help="Batches: list, show, release, move, call off, retry, follow, results.",
    epilog=EXIT_CODES_HELP + ACCESS_HELP,
)


def register_commands(app: typer.Typer) -> None:
    """Adds the commands to the table of contents."""
    app.command("pay", help=PAY_HELP, rich_help_panel=PANEL, epilog=EXIT_CODES_HELP + ACCESS_HELP)(pay)
    app.add_typer(payouts, name="payouts", rich_help_panel=PANEL)
    app.add_typer(batches, name="batches", rich_help_panel=PANEL)
    app.command("balance", rich_help_panel=PANEL, epilog=EXIT_CODES_HELP + ACCESS_HELP)(balance)
    app.command("listen", rich_help_panel=PANEL, epilog=ACCESS_HELP)(listen)


def pay(
    file: Annotated[Path, typer.Argument(help="The settlement, as CSV.", metavar="FILE.csv", show_default=False)],
    urgency: Annotated[
        str | None,
        typer.Option("--urgency", help="standard (where left out), same_day or instant.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The batch's name; else the file's and the date.", show_default=False)
    ] = None,
    at: At = None,
    timezone: Zone = None,
    hold: Annotated[bool, typer.Option("--hold", help="Hand in, and leave the release to somebody else.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show the plan; hand nothing in.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="End once it is released.")] = False,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Pay again what is paid already; needs --reason.")
    ] = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it is paid again.", show_default=False)] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="Where results go; else beside FILE.csv.", show_default=False)
    ] = None,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Runs `ovnpay pay`."""
    from shared.cli.client import pay
    from shared.cli.client.cells import URGENCIES
    from shared.cli.client.pay_options import PayOptions

    if urgency is not None and urgency not in URGENCIES:
        raise typer.BadParameter(f"say one of {', '.join(URGENCIES)}", param_hint="--urgency")
    options = PayOptions(
        file, urgency, name, at, timezone, hold, dry_run, yes, not no_follow, allow_duplicates, reason, results
    )
    raise typer.Exit(pay.pay_file(options, _access(url, key, json)))


def balance(url: Url = None, key: Key = None, json: Json = False) -> None:
    """Show the wallet's money."""
    from shared.cli.client import payouts

    raise typer.Exit(payouts.print_balance(_access(url, key, json)))


def listen(
    forward: Annotated[
        str | None,
        typer.Option(
            "--forward", help="POST each there as well, as in http://localhost:3000/hook.", show_default=False
        ),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option("--types", help="Only these, with commas between: payout.succeeded,…", show_default=False),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            "--secret", help="The whsec_… to sign with; else a new one, which is printed.", show_default=False
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    json: Annotated[bool, typer.Option("--json", help="Each event as one JSON line on stdout.")] = False,
) -> None:
    """Print each event as it happens and, with --forward, hand it on as a webhook would: signed, until Ctrl-C."""
    from shared.cli.client import listen

    raise typer.Exit(listen.run_listen(_access(url, key, json), forward, types, secret))


@payouts.command("list")
def payouts_list(
    status: Status = None,
    driver: Annotated[
        str | None, typer.Option("--driver", help="Only this driver's, drv_….", show_default=False)
    ] = None,
    limit: Limit = 50,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """List payouts, newest first."""
    from shared.cli.client import payouts

    raise typer.Exit(payouts.print_payouts(_access(url, key, json), status, driver, limit))


@payouts.command("show")
def payouts_show(payout_id: PayoutId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Show a payout, and what has happened to it."""
    from shared.cli.client import payouts

    raise typer.Exit(payouts.print_payout(_access(url, key, json), payout_id))


@payouts.command("cancel")
def payouts_cancel(payout_ids: PayoutIds, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Call off payouts that are not with the provider yet."""
    from shared.cli.client import payouts

    raise typer.Exit(payouts.cancel_or_retry_each(_access(url, key, json), payout_ids, "cancel"))


@payouts.command("retry")
def payouts_retry(payout_ids: PayoutIds, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Try failed payouts again."""
    from shared.cli.client import payouts

    raise typer.Exit(payouts.cancel_or_retry_each(_access(url, key, json), payout_ids, "retry"))


@batches.command("list")
def batches_list(
    status: Status = None, limit: Limit = 20, url: Url = None, key: Key = None, json: Json = False
) -> None:
    """List batches, newest first."""
    from shared.cli.client import batches

    raise typer.Exit(batches.print_batches(_access(url, key, json), status, limit))


@batches.command("show")
def batches_show(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Show a batch, and how its payouts stand."""
    from shared.cli.client import batches

    raise typer.Exit(batches.print_batch(_access(url, key, json), batch_id))


@batches.command("release")
def batches_release(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Pay a batch now; one that is released already stays as it is."""
    from shared.cli.client import batches

    raise typer.Exit(batches.release_run_or_cancel(_access(url, key, json), batch_id, "release"))


@batches.command("run")
def batches_run(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Pay a scheduled batch now, whatever its time."""
    from shared.cli.client import batches

    raise typer.Exit(batches.release_run_or_cancel(_access(url, key, json), batch_id, "run"))


@batches.command("cancel")
def batches_cancel(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Call off a batch that is not released."""
    from shared.cli.client import batches

    raise typer.Exit(batches.release_run_or_cancel(_access(url, key, json), batch_id, "cancel"))


@batches.command("reschedule")
def batches_reschedule(
    batch_id: BatchId,
    at: At = None,
    timezone: Zone = None,
    no_time: Annotated[bool, typer.Option("--no-time", help="At no time: it waits to be released.")] = False,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Give a batch that waits another time, or none."""
    from shared.cli.client import batches

    raise typer.Exit(batches.change_release_time(_access(url, key, json), batch_id, at, timezone, no_time=no_time))


@batches.command("retry-failed")
def batches_retry_failed(batch_id: BatchId, url: Url = None, key: Key = None, json: Json = False) -> None:
    """Try a batch's failed payouts again."""
    from shared.cli.client import batches

    raise typer.Exit(batches.retry_failed_payouts(_access(url, key, json), batch_id))


@batches.command("results")
def batches_results(
    batch_id: BatchId,
    results: Annotated[
        Path | None, typer.Option("--results", help="A file to write; else stdout.", show_default=False)
    ] = None,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Print what became of each payout of a batch, as CSV."""
    from shared.cli.client import batches

    raise typer.Exit(batches.print_batch_results(_access(url, key, json), batch_id, results))


@batches.command("follow")
def batches_follow(
    batch_ids: Annotated[list[str], typer.Argument(help="Ids of batches, batch_….", metavar="BATCH...")],
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Watch batches until everybody is paid; Ctrl-C stops watching, not paying."""
    from shared.cli.client import batches

    raise typer.Exit(batches.watch_batches(_access(url, key, json), batch_ids))


def _access(url: str | None, key: str | None, json: bool) -> "AccessOptions":
    from shared.cli.client.command_runner import AccessOptions

    return AccessOptions(url, key, json)
