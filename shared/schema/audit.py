"""Who does what, in the audit log's words."""

import enum


class ActorKind(enum.StrEnum):
    """Who can do something."""

    USER = "user"
    """A person who is signed in; or who tried to sign in, and then nobody is named."""

    KEY = "key"
    """A program, by its API key."""

    OPERATOR = "operator"
    """Whoever runs the installation, by a command on it."""

    SYSTEM = "system"
    """Ourselves, because the time had come."""


class Action(enum.StrEnum):
    """Everything that is audited."""

    PAYOUT_CREATE = "payout.create"
    """Payouts were asked for, one or in bulk: an entry for each request, not for each payout."""
    PAYOUT_CANCEL = "payout.cancel"
    PAYOUT_RETRY = "payout.retry"
    PAYOUT_PROPOSE = "payout.propose_outcome"
    """A person said what became of a payout whose end was unknown; in production a second one has to say the same."""
    PAYOUT_RESOLVE = "payout.resolve"
    """It was done as people said."""
    CASE_CLOSE = "case.close"
    """A person has looked at a difference between the provider's record and ours."""
    INSTALLATION_RECONCILE_ONLY = "installation.reconcile_only"
    """Payments were stopped, or let go again, by a person."""
    BATCH_CREATE = "batch.create"
    BATCH_RELEASE = "batch.release"
    """By a person or a key before its time, or by us at its time."""
    BATCH_CANCEL = "batch.cancel"
    BATCH_RESCHEDULE = "batch.reschedule"
    BATCH_RETRY = "batch.retry"
    """Those of its payouts that had failed."""
    DRIVER_CREATE = "driver.create"
    DRIVER_UPDATE = "driver.update"
    DRIVER_DELETE = "driver.delete"
    TOPUP_CREATE = "topup.create"
    KEY_CREATE = "key.create"
    """A sandbox key was made, or a production key asked for."""
    KEY_APPROVE = "key.approve"
    KEY_REJECT = "key.reject"
    KEY_REGENERATE = "key.regenerate"
    KEY_REVOKE = "key.revoke"
    KEY_LIMIT = "key.limit"
    """Its requests a minute."""
    SESSION_START = "session.start"
    SESSION_REFUSE = "session.refuse"
    """Somebody gave a wrong password for a user's email."""
    SESSION_END = "session.end"
    USER_CREATE = "user.create"
    USER_RESET_PASSWORD = "user.reset_password"  # noqa: S105 an action's name
    ORGANIZATION_CREATE = "organization.create"
    ORGANIZATION_UPDATE = "organization.update"
    """Its time zone."""
    WALLET_UPDATE = "wallet.update"
    """The wallet's policy."""
    WEBHOOK_CREATE = "webhook.create"
    WEBHOOK_UPDATE = "webhook.update"
    WEBHOOK_PAUSE = "webhook.pause"
    """By us, because it said that it is gone, or had failed for days."""
    WEBHOOK_DELETE = "webhook.delete"
    WEBHOOK_TEST = "webhook.test"
    WEBHOOK_ROTATE = "webhook.rotate_secret"
    WEBHOOK_REDELIVER = "webhook.redeliver"
    OUTGOING_FREEZE = "outgoing.freeze"
    """Money stopped leaving by itself: an invariant is broken."""
    OUTGOING_UNFREEZE = "outgoing.unfreeze"
    OUTGOING_PAUSE = "outgoing.pause"
    OUTGOING_RESUME = "outgoing.resume"
    SANDBOX_RESET = "sandbox.reset"
    SANDBOX_SEED = "sandbox.seed"

    @property
    def object_kind(self) -> str:
        """What it is done to."""
        noun = self.value.partition(".")[0]
        return {"session": "user", "sandbox": "wallet", "outgoing": "wallet"}.get(noun, noun)


MOST_FREQUENT_ACTION = Action.PAYOUT_CREATE
"""The action of nearly all entries: indexes for the others leave it out."""
