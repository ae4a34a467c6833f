"""Settings: every one is an environment variable `OVNPAY_<NAME>`, read once at start.

A secret may also come from a file: `OVNPAY_<NAME>_FILE` names it (as Docker and Kubernetes mount secrets).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

import msgspec

from shared.platform import failpoints, safeguards
from shared.platform.settings_validation import production_errors

VARIABLE_PREFIX = "OVNPAY_"
URL_SCHEMES = {
    "database_url": ("postgresql", "postgres", "postgresql+psycopg"),
    "migration_database_url": ("postgresql", "postgres", "postgresql+psycopg"),
    "redis_url": ("redis", "rediss", "unix"),
    "paystream_url": ("https", "http"),
}

RETENTION_DAYS_MIN = {
    "keep_sessions_days": 1,
    "keep_personal_data_days": 31,  # events can be redelivered for thirty
    "keep_bodies_days": 90,  # a bank takes two months to send money back
}


class SettingsError(Exception):
    """A setting is missing, can't be read, or won't do; the message says which and what it should look like, and never
    what it is: it may be a secret, or one that was put in the wrong place.
    """


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set. Durations end in their unit."""

    environment: str = "development"
    """`development` or `production`; production refuses secrets that are unset, short or well known, see
    `shared/platform/settings_validation.py`."""

    database_url: str
    """PostgreSQL 15 or later, as `postgresql://user:password@host:port/name`. The user is a login in the group
    `ovnpay_service`, which can add to the ledger but not change it, see `shared/schema/migrations/grants.py`."""

    migration_database_url: str = ""
    """The same database as the owner of its tables, for `ovnpay migrate` and `ovnpay bootstrap` alone; left out:
    `database_url`, and then the services own the tables too."""

    database_pooler: str = ""
    """`transaction` where `database_url` is a PgBouncer in transaction mode; `migration_database_url` then is
    PostgreSQL itself. A service that starts says what the role has to be told (`ALTER ROLE ... SET ...`)."""

    redis_url: str
    """Redis or Valkey for the doorbells, as `redis://host:port/0`. Losing what it holds costs latency only."""

    paystream_url: str = "https://api.paystream.fi"
    """The payment provider's base URL, without `/api/v1`."""

    paystream_test_key: str = ""
    """The key for sandbox wallets (`psk_test_…`)."""

    paystream_live_key: str = ""
    """The key for production wallets (`psk_live_…`)."""

    paystream_webhook_secret: str = ""
    """What the provider signs its webhooks with."""

    paystream_webhook_secret_previous: str = ""
    """The secret before that, still accepted while a rotation is under way."""

    paystream_timeout_seconds: float = 10.0
    """How long a call to the provider may take before its outcome counts as unknown."""

    paystream_concurrency: int = 16
    """Calls to the provider at the same time, for each worker process; as many again for instant payouts."""

    paystream_requests_per_hour: int = 1000
    """Calls that the provider takes in any hour with one key; all processes together make no more. 0: no limit."""

    paystream_instant_reserve: int = 200
    """How many of them are kept for instant payouts."""

    paystream_funding_per_minute: int = 5
    """Top-ups that the provider takes in any minute. 0: no limit."""

    paystream_key_lifetime_seconds: float = 24 * 3600.0
    """How long the provider remembers an idempotency key; past it a submission is looked up, never re-sent."""

    webhooks_timeout_seconds: float = 15.0
    """How long a call to a customer's webhook may take in all."""

    webhooks_connect_timeout_seconds: float = 5.0
    """How long it may take to connect."""

    webhooks_allow_loopback: bool = True
    """Whether a webhook may be on this machine, and then without encryption; not in production, whatever this says."""

    key_pepper: str = ""
    """The secret under which API keys are hashed."""

    key_pepper_previous: str = ""
    """Another that is accepted while a rotation is under way: what was made under it works, and keys that are used are
    hashed anew under `key_pepper`. See `deploy/runbooks/rotate-keys.md`."""

    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8080
    gateway_processes: int = 1
    """Processes that serve on one socket; `ovnpay gateway --processes` sets it."""

    metrics_host: str = "127.0.0.1"
    """Where every service listens for `/metrics` and `/health`, each on its port below; in a container `0.0.0.0`."""

    gateway_metrics_port: int = 9101
    workers_metrics_port: int = 9102
    workers_threads: int = 6
    """Threads of each worker process; `ovnpay workers --threads` sets it."""

    scheduler_metrics_port: int = 9103
    exporter_metrics_port: int = 9104

    metrics_folder: str = ""
    """Where services of several processes keep their counts, so that a pool that is started again counts on; left out:
    in a temporary folder, and it begins again."""

    database_pool_size: int = 10
    """Connections of each gateway process at the most. A worker process has one for each thread and one more, a
    scheduler four."""

    rate_limit_per_minute: int = 100
    """Requests a minute for each API key that has no limit of its own, and for each signed-in user; twice as many may
    come at once."""

    sign_in_failures_per_minute: int = 30
    """Failed sign-ins a minute for each address, twice as many at once; behind a proxy all come from one. An account
    has five, whatever this says."""

    intake_queue_size: int = 5000
    """Requests that may wait for the next group commit; one more is answered 503."""

    intake_group_size: int = 500
    """Requests in one group commit at the most."""

    lease_seconds: float = 30.0
    """How long a worker owns what it works on, and so how long what a killed worker held waits for the next one;
    longer than `paystream_timeout_seconds`."""

    wake_up_grace_seconds: float = 2.0
    """How long a doorbell has to be heard before the tick rings again."""

    verify_after_seconds: float = 5.0
    """How soon the provider is asked whether a new driver is verified; then later and later, an hour apart at last."""

    poll_after_instant_seconds: float = 60.0
    poll_after_same_day_seconds: float = 8 * 3600.0
    poll_after_standard_seconds: float = 4 * 24 * 3600.0
    """How long a payout waits for its webhook before the provider is asked."""

    check_invariants_every_seconds: float = 300.0
    """How often each invariant is proved of what has changed; each time also the next portion of everything."""

    keep_sessions_days: int = 30
    keep_personal_data_days: int = 35
    keep_bodies_days: int = 400
    """How long sign-ins, drivers' personal data in events, and raw bodies of Paystream's webhooks are kept, see
    `shared/operations/retention.py`; `ovnpay retention` shows what else is."""

    task_message_copies: int = 1
    """How often each doorbell message is sent; tests set 2 to prove that nothing depends on hearing it once."""

    failpoint: str = ""
    """Where this process is to die, for tests: a name of `shared/platform/failpoints.py`, with `:2` the second time it
    comes there. Production refuses it."""

    without: str = ""
    """Safeguards that a test has switched off, see `shared/platform/safeguards.py`; not in production."""

    log_format: str = "auto"
    """`json`, `console`, or `auto`: console on a terminal."""

    log_level: str = "info"

    @property
    def peppers(self) -> tuple[str, ...]:
        """The pepper that is made use of, and the one that is accepted too."""
        return (self.key_pepper, self.key_pepper_previous) if self.key_pepper_previous else (self.key_pepper,)

    @property
    def is_loopback_allowed(self) -> bool:
        """Whether customers may name the machine that we run on."""
        return self.webhooks_allow_loopback and self.environment == "development"

    def __post_init__(self) -> None:
        if self.lease_seconds <= self.paystream_timeout_seconds:
            raise SettingsError(
                "OVNPAY_LEASE_SECONDS must be longer than OVNPAY_PAYSTREAM_TIMEOUT_SECONDS, "
                "or a call under way would be made a second time"
            )
        if self.failpoint:
            try:
                failpoints.parse_failpoint(self.failpoint)
            except failpoints.FailpointError as error:
                raise SettingsError(str(error)) from None
        for name, days_min in RETENTION_DAYS_MIN.items():
            if getattr(self, name) < days_min:
                raise SettingsError(f"{VARIABLE_PREFIX}{name.upper()} must be {days_min} or more")
        if self.environment not in ("development", "production"):
            raise SettingsError("OVNPAY_ENVIRONMENT must be development or production")
        if self.database_pooler not in ("", "transaction"):
            raise SettingsError("OVNPAY_DATABASE_POOLER must be transaction, or left out")
        for name, schemes in URL_SCHEMES.items():
            if value := getattr(self, name):
                _check_url(f"{VARIABLE_PREFIX}{name.upper()}", value, schemes)
        for name, other in (("paystream_test_key", "psk_live_"), ("paystream_live_key", "psk_test_")):
            if getattr(self, name).startswith(other):
                raise SettingsError(f"{VARIABLE_PREFIX}{name.upper()} begins with {other}: it is the other mode's key")
        try:
            safeguards.named(self.without)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        if self.environment == "production":
            for refusal in production_errors(self):
                raise SettingsError(refusal)


def _check_url(variable: str, value: str, schemes: tuple[str, ...]) -> None:
    """Refuses what would be taken apart wrongly, and then be shown in an error: half a password as a host or a port."""
    try:
        address = urlsplit(value)
        _ = address.port  # a ValueError where it is no number
        readable = address.scheme in schemes and address.netloc.count("@") < 2
    except ValueError:
        readable = False
    if not readable:
        raise SettingsError(
            f"{variable} should be {schemes[0]}://user:password@host:port/name; it can't be read as that "
            "(in a password, write @ as %40, : as %3A, / as %2F, # as %23, ? as %3F)"
        )


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings from the environment.

    Raises:
        SettingsError: one is missing or malformed; the sentence names the variable.

    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name, kind in get_type_hints(Settings).items():
        variable = VARIABLE_PREFIX + name.upper()
        text = environ.get(variable)
        if text is None and (path := environ.get(f"{variable}_FILE")):
            try:
                text = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                # Somebody may have put the secret where the file's name belongs.
                named = path if path.startswith(("/", "./", "../", "~")) else "something that looks like no path"
                why = error.strerror if isinstance(error, OSError) else "it is not text"
                raise SettingsError(f"{variable}_FILE names {named}, which can't be read: {why}") from None
        if text is None:
            continue
        try:
            values[name] = msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError:
            raise SettingsError(f"{variable} should be {kind.__name__}, and what it is set to is not") from None
    for name in ("database_url", "redis_url"):
        if name not in values:
            raise SettingsError(f"{VARIABLE_PREFIX}{name.upper()} is not set; `ovnpay up` sets it for a local system")
    return Settings(**values)
