"""Command line of API clients: `pay`, `balance`, `listen`, and the groups `payouts` and `batches`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from shared.cli.client.batch_commands import batches_app
from shared.cli.client.parameters import (
    ACCESS_HELP,
    CLIENT_PANEL,
    EXIT_CODES_HELP,
    At,
    Json,
    Key,
    Url,
    Zone,
    access_options,
)
from shared.cli.client.payout_commands import payouts_app

PAY_HELP: Final = (
    "Pay every driver in a CSV file, once.\n\n"
    'Example: ovnpay pay friday.csv --at "Friday 17:00"\n\n'
    "Columns, in any order; case, spaces and underscores of their names don't matter: driver (or driverId, "
    "ovnDriverId: OVN Pay's id or your own), amount (in dollars) or amount_cents, and optionally loadId, description "
    "and urgency.\n\n"
    "Every row is checked first; if one has an error, nothing is sent. Submitting the same content again, under any "
    "file name, pays no driver twice and follows the first batch: for 48 hours by its content; after that, or if the "
    "file changed, by its loads, which are paid once unless --allow-duplicates is given. A row without a load is "
    "rejected if the same driver was paid the same amount with the same description in the last 7 days. The outcome "
    "of each row is written to FILE.results.csv.\n\n"
    "The key needs the scopes drivers:read, payouts:read, batches:read, batches:write and balance:read."
)


def register_commands(app: typer.Typer) -> None:
    """Add the client commands to `ovnpay`."""
    app.command("pay", help=PAY_HELP, rich_help_panel=CLIENT_PANEL, epilog=EXIT_CODES_HELP + ACCESS_HELP)(pay)
    app.add_typer(payouts_app, name="payouts", rich_help_panel=CLIENT_PANEL)
    app.add_typer(batches_app, name="batches", rich_help_panel=CLIENT_PANEL)
    app.command("balance", rich_help_panel=CLIENT_PANEL, epilog=EXIT_CODES_HELP + ACCESS_HELP)(balance)
    app.command("listen", rich_help_panel=CLIENT_PANEL, epilog=ACCESS_HELP)(listen)


def pay(
    file: Annotated[Path, typer.Argument(help="Settlement as CSV.", metavar="FILE.csv", show_default=False)],
    urgency: Annotated[
        str | None,
        typer.Option("--urgency", help="standard, same_day or instant. Default: standard.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Batch name. Default: file name and date.", show_default=False)
    ] = None,
    at: At = None,
    timezone: Zone = None,
    hold: Annotated[bool, typer.Option("--hold", help="Submit without releasing; a person releases it later.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and show the plan; submit nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask for confirmation.")] = False,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Exit after the release.")] = False,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Pay rows that are already paid; needs --reason.")
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option("--reason", help="Why rows are paid again, at most 500 characters.", show_default=False),
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="Results file. Default: FILE.results.csv.", show_default=False)
    ] = None,
    url: Url = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Run `ovnpay pay`."""
    from shared.cli.client.cells import URGENCIES
    from shared.cli.client.pay import pay_file
    from shared.cli.client.pay_options import PayOptions

    if urgency is not None and urgency not in URGENCIES:
        raise typer.BadParameter(f"use one of {', '.join(URGENCIES)}", param_hint="--urgency")
    options = PayOptions(
        file, urgency, name, at, timezone, hold, dry_run, yes, not no_follow, allow_duplicates, reason, results
    )
    raise typer.Exit(pay_file(options, access_options(url, key, json)))


def balance(url: Url = None, key: Key = None, json: Json = False) -> None:
    """Show the wallet's balance: available, pending top-ups, in transit."""
    from shared.cli.client.payouts import print_balance

    raise typer.Exit(print_balance(access_options(url, key, json)))


def listen(
    forward: Annotated[
        str | None,
        typer.Option(
            "--forward", help="Also POST each event to this URL, e.g. http://localhost:3000/hook.", show_default=False
        ),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            "--types", help="Only these event types, e.g. payout.succeeded,payout.failed.", show_default=False
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            "--secret",
            help="Signing secret, whsec_…, for --forward. Default: a new one, which is printed.",
            show_default=False,
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    json: Annotated[bool, typer.Option("--json", help="Print each event as one JSON line.")] = False,
) -> None:
    """Print events as they happen and, with --forward, send them to a URL, signed as a webhook is; until Ctrl-C."""
    from shared.cli.client.listen import run_listen

    raise typer.Exit(run_listen(access_options(url, key, json), forward, types, secret))
