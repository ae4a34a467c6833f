"""Options, arguments and help texts that several client commands share."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from shared.cli.client.command_runner import AccessOptions

CLIENT_PANEL: Final = "API clients (need a URL and a key)"

EXIT_CODES_HELP: Final = (
    "Exit codes: 0 every payout is paid, or the batch is scheduled or on hold as requested; 1 a payout failed, or the "
    "API rejected a request; 2 nothing was submitted, because the command or the file is invalid or you declined; "
    "3 the API can't be reached or its response was lost, and running the command again is safe; 130 interrupted, "
    "which stops the command and not the payouts.\n\n"
)
ACCESS_HELP: Final = (
    "API and key: --url and --key, else OVNPAY_API_URL and OVNPAY_API_KEY (or OVNPAY_API_KEY_FILE, the path of a "
    "file), else the stack that `ovnpay up` runs in this folder."
)

Url = Annotated[
    str | None,
    typer.Option("--url", help="API URL, e.g. https://pay.example.com. Default: OVNPAY_API_URL.", show_default=False),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="API key. Prefer OVNPAY_API_KEY or OVNPAY_API_KEY_FILE: options show up in process lists.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, everything else to stderr.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Maximum number of items.")]
PayoutId = Annotated[str, typer.Argument(help="Payout id, pay_….", metavar="PAYOUT")]
PayoutIds = Annotated[list[str], typer.Argument(help="Payout ids, pay_….", metavar="PAYOUT...")]
BatchId = Annotated[str, typer.Argument(help="Batch id, batch_….", metavar="BATCH")]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        help='Release time: "Friday 17:00", "tomorrow 9am", "17:00", "2026-11-27 17:00", or ISO 8601.',
        show_default=False,
    ),
]
Zone = Annotated[
    str | None,
    typer.Option(
        "--timezone", help="Time zone of --at, e.g. America/Chicago. Default: this machine's.", show_default=False
    ),
]


def access_options(url: str | None, key: str | None, json: bool) -> "AccessOptions":
    """Return the options of the connection and the output."""
    from shared.cli.client.command_runner import AccessOptions

    return AccessOptions(url, key, json)
