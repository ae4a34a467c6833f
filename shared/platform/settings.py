"""Settings: each is an environment variable `OVNPAY_<NAME>`, read once at start.

A value may also come from a file: `OVNPAY_<NAME>_FILE` names it, as Docker and Kubernetes mount secrets.
"""

from urllib.parse import urlsplit

import msgspec

from shared.platform.failpoints import FailpointError, parse_failpoint

VARIABLE_PREFIX = "OVNPAY_"
URL_SCHEMES = {
    "database_url": ("postgresql", "postgres", "postgresql+psycopg"),
    "migration_database_url": ("postgresql", "postgres", "postgresql+psycopg"),
    "redis_url": ("redis", "rediss", "unix"),
    "paystream_url": ("https", "http"),
}

RETENTION_DAYS_MIN = {
    "keep_sessions_days": 1,
    "keep_personal_data_days": 31,  # events can be redelivered for 30
    "keep_bodies_days": 90,  # a bank takes two months to send money back
}


class SettingsError(Exception):
    """A setting is missing or not valid. The message never repeats the value, because that may be a secret."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. Names of durations end in their unit."""

    environment: str = "development"
    """`development` or `production`; production refuses secrets that are unset, short or well known, see
    `shared/platform/settings_validation.py`."""

    database_url: str
    """PostgreSQL 15 or later, as `postgresql://user:password@host:port/name`. The user is a login in the group
    `ovnpay_service`, which can add to the ledger but not change it, see `shared/schema/migrations/grants.py`."""

    migration_database_url: str = ""
    """The same database as the owner of its tables, for `ovnpay migrate` and `ovnpay bootstrap` alone. Default:
    `database_url`; the services then own the tables too."""

    database_pooler: str = ""
    """`transaction` if `database_url` is a PgBouncer in transaction mode; `migration_database_url` then is PostgreSQL
    itself. A service that starts names the role's missing settings (`ALTER ROLE ... SET ...`)."""

    redis_url: str
    """Redis or Valkey for the task queue, as `redis://host:port/0`. Losing its data costs latency only."""

    paystream_url: str = "https://api.paystream.fi"
    """The payment provider's base URL, without `/api/v1`."""

    paystream_test_key: str = ""
    """The key for sandbox wallets (`psk_test_…`)."""

    paystream_live_key: str = ""
    """The key for production wallets (`psk_live_…`)."""

    paystream_webhook_secret: str = ""
    """The secret that the provider signs its webhooks with."""

    paystream_webhook_secret_previous: str = ""
    """The previous secret, still accepted during a rotation."""

    paystream_timeout_seconds: float = 10.0
    """Timeout of a call to the provider; its outcome is then unknown."""

    paystream_concurrency: int = 16
    """Concurrent calls to the provider of each worker process; instant payouts have as many of their own."""

    paystream_requests_per_hour: int = 1000
    """Calls that the provider accepts in an hour with one key; all processes share them. 0: no limit."""

    paystream_instant_reserve: int = 200
    """Calls of that hour that are reserved for instant payouts."""

    paystream_funding_per_minute: int = 5
    """Top-ups that the provider accepts in a minute. 0: no limit."""

    paystream_key_lifetime_seconds: float = 24 * 3600.0
    """How long the provider keeps an idempotency key; an older submission is looked up, never re-sent."""

    webhooks_timeout_seconds: float = 15.0
    """Timeout of a call to a customer's webhook, in all."""

    webhooks_connect_timeout_seconds: float = 5.0
    """Timeout of its connection attempt."""

    webhooks_allow_loopback: bool = True
    """Whether a webhook may be on this machine, then without encryption; never in production."""

    key_pepper: str = ""
    """The secret that API keys are hashed with."""

    key_pepper_previous: str = ""
    """The previous pepper, accepted during a rotation; a key that is used is hashed again with `key_pepper`. See
    `deploy/runbooks/rotate-keys.md`."""

    gateway_host: str = "127.0.0.1"
    gateway_port: int = 8080
    gateway_processes: int = 1
    """Processes that share one socket; `ovnpay gateway --processes` sets it."""

    metrics_host: str = "127.0.0.1"
    """The address of every service's `/metrics` and `/health`, on the ports below; in a container `0.0.0.0`."""

    gateway_metrics_port: int = 9101
    workers_metrics_port: int = 9102
    workers_threads: int = 6
    """Threads of each worker process; `ovnpay workers --threads` sets it."""

    scheduler_metrics_port: int = 9103
    exporter_metrics_port: int = 9104

    metrics_folder: str = ""
    """Folder where services of several processes keep their counts across restarts. Default: a temporary folder; counts
    then restart at zero."""

    database_pool_size: int = 10
    """Maximum connections of each gateway process. A worker process has one for each thread and one more, a scheduler
    7, the exporter 1."""

    rate_limit_per_minute: int = 100
    """Requests a minute for each API key without its own limit, and for each signed-in user; bursts of twice as many
    are allowed."""

    sign_in_failures_per_minute: int = 30
    """Failed sign-ins a minute for each address, bursts of twice as many; behind a proxy all share one address. An
    account always has five."""

    intake_queue_size: int = 5000
    """Requests that may wait for the next group commit; further ones are answered 503."""

    intake_group_size: int = 500
    """Maximum requests in one group commit."""

    lease_seconds: float = 30.0
    """How long a worker leases the rows it works on, and so how long the rows of a killed worker wait; longer than
    `paystream_timeout_seconds`."""

    wake_up_grace_seconds: float = 2.0
    """How long a wake-up has to be received before the scheduler's tick enqueues the row again."""

    verify_after_seconds: float = 5.0
    """Delay until the provider is asked whether a new driver is verified; it grows to an hour."""

    poll_after_instant_seconds: float = 60.0
    poll_after_same_day_seconds: float = 8 * 3600.0
    poll_after_standard_seconds: float = 4 * 24 * 3600.0
    """How long a payout waits for its webhook before the provider is polled."""

    check_invariants_every_seconds: float = 300.0
    """How often each invariant is checked on changed rows, and on the next slice of all rows."""

    keep_sessions_days: int = 30
    keep_personal_data_days: int = 35
    keep_bodies_days: int = 400
    """Retention of sign-ins, of drivers' personal data in events, and of raw bodies of Paystream's webhooks; see
    `shared/operations/retention.py` and `ovnpay retention`."""

    task_message_copies: int = 1
    """Copies sent of each message; tests set 2, because a duplicate must be harmless."""

    failpoint: str = ""
    """The failpoint that kills this process, for tests: a name of `shared/platform/failpoints.py`, with `:2` at its
    second pass. Production refuses it."""

    log_format: str = "auto"
    """`json`, `console`, or `auto`: console on a terminal."""

    log_level: str = "info"

    @property
    def peppers(self) -> tuple[str, ...]:
        """The current pepper, then the previous one during a rotation."""
        return (self.key_pepper, self.key_pepper_previous) if self.key_pepper_previous else (self.key_pepper,)

    @property
    def is_loopback_allowed(self) -> bool:
        """Whether a customer's webhook may be on this machine."""
        return self.webhooks_allow_loopback and self.environment == "development"

    def __post_init__(self) -> None:
        if self.lease_seconds <= self.paystream_timeout_seconds:
            raise SettingsError(
                "OVNPAY_LEASE_SECONDS must be longer than OVNPAY_PAYSTREAM_TIMEOUT_SECONDS, "
                "or a call in progress would be repeated"
            )
        if self.failpoint:
            try:
                parse_failpoint(self.failpoint)
            except FailpointError as error:
                raise SettingsError(str(error)) from None
        for name, days_min in RETENTION_DAYS_MIN.items():
            if getattr(self, name) < days_min:
                raise SettingsError(f"{variable_name(name)} must be {days_min} or more")
        if self.environment not in ("development", "production"):
            raise SettingsError("OVNPAY_ENVIRONMENT must be development or production")
        if self.database_pooler not in ("", "transaction"):
            raise SettingsError("OVNPAY_DATABASE_POOLER must be transaction or unset")
        for name, schemes in URL_SCHEMES.items():
            if value := getattr(self, name):
                _check_url(variable_name(name), value, schemes)
        for name, other in (("paystream_test_key", "psk_live_"), ("paystream_live_key", "psk_test_")):
            if getattr(self, name).startswith(other):
                raise SettingsError(f"{variable_name(name)} begins with {other}: that is a key of the other mode")


def variable_name(setting: str) -> str:
    """Return the environment variable of a setting."""
    return f"{VARIABLE_PREFIX}{setting.upper()}"


def _check_url(variable: str, value: str, schemes: tuple[str, ...]) -> None:
    """Reject a URL that would be parsed wrongly: part of a password would show as a host or a port in errors."""
    try:
        address = urlsplit(value)
        _ = address.port  # raises ValueError unless it is a number
        readable = address.scheme in schemes and address.netloc.count("@") < 2
    except ValueError:
        readable = False
    if not readable:
        raise SettingsError(
            f"{variable} should be {schemes[0]}://user:password@host:port/name; it does not have that form "
            "(in a password, write @ as %40, : as %3A, / as %2F, # as %23, ? as %3F)"
        )
