"""Options from the command line or the environment."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ENV_PREFIX = "PAYSTREAM_SIM_"

PAYMENT_EVENTS = (
    "payment.created",
    "payment.processing",
    "payment.completed",
    "payment.failed",
    "payment.returned",
)
BATCH_EVENTS = ("batch.created", "batch.released", "batch.completed", "batch.failed")


@dataclass(frozen=True, kw_only=True)
class Options:
    """The simulator's options; `_parser` has the help texts."""

    host: str = "127.0.0.1"
    port: int = 8090
    record: Path | None = None
    test_key: str = "psk_test_simulator"
    live_key: str = "psk_live_simulator"
    webhook_url: str | None = None
    webhook_secret: str = "whsec_simulator"  # noqa: S105 - the default of a stand-in, not a secret
    webhook_events: tuple[str, ...] = PAYMENT_EVENTS + BATCH_EVENTS
    webhook_concurrency: int = 64
    rtp_seconds: float = 0.1
    same_day_seconds: float = 0.3
    standard_seconds: float = 0.5
    return_seconds: float = 0.5
    rtp_topup_seconds: float = 0.3
    ach_topup_seconds: float = 2.0
    verify_seconds: float = 0.25
    live_verify_seconds: float = 1.0
    retry_gap_seconds: float = 0.2
    requests_per_hour: int = 1_000
    funding_per_minute: int = 5
    starting_balance_cents: int = 1_000_000_000_00
    fault_timeout_seconds: float = 30.0
    control: bool = True

    def settle_seconds(self, rail: str) -> float:
        if rail == "rtp":
            return self.rtp_seconds
        return self.same_day_seconds if rail == "same_day_ach" else self.standard_seconds


def _events(text: str) -> tuple[str, ...]:
    known = PAYMENT_EVENTS + BATCH_EVENTS
    if text.strip() in ("", "all"):
        return known
    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in chosen:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
    return chosen


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 30 * 86_400:
        raise argparse.ArgumentTypeError("must be between 0 and 30 days, in seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.simulator",
        description="Paystream, the payment provider, simulated over HTTP from its published API.",
        epilog=f"Every option can be given as an environment variable too: --webhook-url as "
        f"{ENV_PREFIX}WEBHOOK_URL, or as a file that {ENV_PREFIX}WEBHOOK_URL_FILE names. The command line wins.",
    )
    add = parser.add_argument
    add("--host", help="address to listen on (default %(default)s)")
    add("--port", type=_count, help="port to listen on, 0 for a free one (default %(default)s)")
    add("--record", type=Path, help="SQLite file that outlives the process (default: memory only)")
    add("--test-key", help="API key of test mode (default %(default)s)")
    add("--live-key", help="API key of live mode (default %(default)s)")
    add("--webhook-url", help="where events are posted (default: nowhere)")
    add("--webhook-secret", help="key of the X-Signature HMAC (default %(default)s)")
    add("--webhook-events", type=_events, help="comma-separated event types to send (default: all)")
    add("--webhook-concurrency", type=_count, help="deliveries at once (default %(default)s)")
    add("--rtp-seconds", type=_seconds, help="an rtp payment, created to completed (default %(default)s)")
    add("--same-day-seconds", type=_seconds, help="the same for same_day_ach (default %(default)s)")
    add("--standard-seconds", type=_seconds, help="the same for standard ACH (default %(default)s)")
    add("--return-seconds", type=_seconds, help="completed to returned (default %(default)s)")
    add("--rtp-topup-seconds", type=_seconds, help="a top-up from an rtp source (default %(default)s)")
    add("--ach-topup-seconds", type=_seconds, help="a top-up from any other source (default %(default)s)")
    add("--verify-seconds", type=_seconds, help="recipient verification, test mode (default %(default)s)")
    add("--live-verify-seconds", type=_seconds, help="the same in live mode (default %(default)s)")
    add("--retry-gap-seconds", type=_seconds, help="between two retries of one payment (default %(default)s)")
    add("--requests-per-hour", type=_count, help="per API key, 0 = unlimited (default %(default)s)")
    add("--funding-per-minute", type=_count, help="top-ups per key, 0 = unlimited (default %(default)s)")
    add("--starting-balance-cents", type=_count, help="of each mode in a new record (default %(default)s)")
    add("--fault-timeout-seconds", type=_seconds, help="how long timeout faults hold (default %(default)s)")
    add("--control", action=argparse.BooleanOptionalAction, help="serve /control (default: yes)")
    return parser


def read_options(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> Options:
    """Parse the options; exit with a usage message if one is invalid."""
    parser = _parser()
    names = list(Options.__dataclass_fields__)
    parser.set_defaults(**{name: Options.__dataclass_fields__[name].default for name in names})
    for name in names:
        text = environ.get(ENV_PREFIX + name.upper())
        if not text and (path := environ.get(f"{ENV_PREFIX}{name.upper()}_FILE")):
            try:
                text = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                parser.error(f"{ENV_PREFIX}{name.upper()}_FILE names a file that can't be read")
        if not text:
            continue
        if name == "control":
            parser.set_defaults(control=text.strip().lower() not in ("0", "no", "false", "off"))
        else:
            # argparse converts a string default like an argument.
            parser.set_defaults(**{name: text})
    options = Options(**vars(parser.parse_args(arguments)))
    if options.webhook_url is not None and not options.webhook_url.startswith(("http://", "https://")):
        parser.error(f"--webhook-url must be an http or https URL: {options.webhook_url!r}")
    if options.test_key == options.live_key:
        parser.error("--test-key and --live-key must differ: the key selects the mode")
    return options
