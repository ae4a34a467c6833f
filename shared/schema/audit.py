"""Actions and actors of the audit log."""

import enum


class ActorKind(enum.StrEnum):
    """Who did it."""

    USER = "user"
    """A signed-in user; for a failed sign-in, without a user id."""

    KEY = "key"
    """A program with an API key."""

    OPERATOR = "operator"
    """An operator of the installation, with a command."""

    SYSTEM = "system"
    """OVN Pay itself, on schedule."""


class Action(enum.StrEnum):
    """Every audited action."""

    PAYOUT_CREATE = "payout.create"
    """Payouts were requested, one or in bulk: one entry per request, not per payout."""
    PAYOUT_CANCEL = "payout.cancel"
    PAYOUT_RETRY = "payout.retry"
    PAYOUT_PROPOSE = "payout.propose_outcome"
    """It was proposed whether a payout with an unknown outcome was paid; in production a second person must approve."""
    PAYOUT_RESOLVE = "payout.resolve"
    """A proposed outcome was approved and applied."""
    CASE_CLOSE = "case.close"
    """An operator closed a reconciliation case."""
    INSTALLATION_RECONCILE_ONLY = "installation.reconcile_only"
    """An operator set or lifted the reconcile-only guard: no money is sent while it is set."""
    BATCH_CREATE = "batch.create"
    BATCH_RELEASE = "batch.release"
    """By a user or key before its scheduled time, or by the system at that time."""
    BATCH_CANCEL = "batch.cancel"
    BATCH_RESCHEDULE = "batch.reschedule"
    BATCH_RETRY = "batch.retry"
    """Its failed payouts were retried."""
    DRIVER_CREATE = "driver.create"
    DRIVER_UPDATE = "driver.update"
    DRIVER_DELETE = "driver.delete"
    TOPUP_CREATE = "topup.create"
    KEY_CREATE = "key.create"
    """A sandbox key was created, or a production key requested."""
    KEY_APPROVE = "key.approve"
    KEY_REJECT = "key.reject"
    KEY_REGENERATE = "key.regenerate"
    KEY_REVOKE = "key.revoke"
    KEY_LIMIT = "key.limit"
    """Its own rate limit was changed."""
    SESSION_START = "session.start"
    SESSION_REFUSE = "session.refuse"
    """A wrong password was given for a user's email."""
    SESSION_END = "session.end"
    USER_CREATE = "user.create"
    USER_RESET_PASSWORD = "user.reset_password"  # noqa: S105 an action's name
    ORGANIZATION_CREATE = "organization.create"
    ORGANIZATION_UPDATE = "organization.update"
    """Its time zone was changed."""
    WALLET_UPDATE = "wallet.update"
    """Its policy was changed."""
    WEBHOOK_CREATE = "webhook.create"
    WEBHOOK_UPDATE = "webhook.update"
    WEBHOOK_PAUSE = "webhook.pause"
    """By the system: it answered 410 or failed for days."""
    WEBHOOK_DELETE = "webhook.delete"
    WEBHOOK_TEST = "webhook.test"
    WEBHOOK_ROTATE = "webhook.rotate_secret"
    WEBHOOK_REDELIVER = "webhook.redeliver"
    OUTGOING_FREEZE = "outgoing.freeze"
    """The system placed an outgoing hold because of an invariant violation."""
    OUTGOING_UNFREEZE = "outgoing.unfreeze"
    OUTGOING_PAUSE = "outgoing.pause"
    OUTGOING_RESUME = "outgoing.resume"
    SANDBOX_RESET = "sandbox.reset"
    SANDBOX_SEED = "sandbox.seed"

    @property
    def object_kind(self) -> str:
        """Kind of the object."""
        noun = self.value.partition(".")[0]
        return {"session": "user", "sandbox": "wallet", "outgoing": "wallet"}.get(noun, noun)


MOST_FREQUENT_ACTION = Action.PAYOUT_CREATE
"""The action of nearly all entries; the index by action excludes it."""
