"""Failpoints: named places between two side effects where a test can make this process die.

`OVNPAY_FAILPOINT=name` kills the process with SIGKILL at its first pass, `name:3` at the third: no handler runs,
nothing is flushed. Production refuses to start with one. At a failpoint after an enqueue, the message may or may not
have been sent, because another thread sends it.
"""

import contextlib
import itertools
import os
import signal
from typing import Final, NoReturn

FAILPOINT_VARIABLE: Final = "OVNPAY_FAILPOINT"

FAILPOINTS: Final[dict[str, str]] = {
    # The gateway accepts payouts: one, in bulk, instant.
    "accept.before_commit": "Payouts, reservations, answers and audit entries are written, not committed.",
    "accept.after_commit": "The payouts are accepted; no task was enqueued, and no client was answered.",
    "accept.after_enqueue": "The payouts are accepted and enqueued; no client was answered.",
    # The gateway makes any other change: cancel, retry, release, top-up, register, and so on.
    "change.before_commit": "The change and the answer under its idempotency key are written, not committed.",
    "change.after_commit": "The change is committed; no task was enqueued, and the client was not answered.",
    "change.after_enqueue": "The change is committed and its task enqueued; the client was not answered.",
    "driver_update.after_enqueue": "A driver's new bank details are stored and enqueued; the client was not answered.",
    # The gateway receives the provider's webhooks.
    "webhook.before_commit": "The provider's events are written, not committed.",
    "webhook.after_commit": "The events are stored; no task was enqueued, and the provider was not answered.",
    "webhook.after_enqueue": "The events are stored and enqueued; the provider was not answered.",
    # A worker has finished a message's work.
    "message.before_ack": "The actor has done its work; its message is not acknowledged and will be redelivered.",
    # Workers: payouts.queue, payouts.submit.
    "queue.before_commit": "Payouts are moved to queued, not committed.",
    "queue.after_commit": "Payouts are queued; no task was enqueued for their submission.",
    "submit.before_commit": "Payouts are processing, their submissions written and leased, not committed.",
    "submit.after_commit": "Submissions are committed and leased; none was sent, and the rest was not enqueued.",
    # Workers: sending submissions, alone or as the provider's batches.
    "send.after_passing_on": "The submissions beyond this worker's capacity are enqueued; nothing was leased.",
    "send.before_call": "Submissions are committed and leased; the provider was not called.",
    "send.after_call": "The provider has answered; its answer is not written.",
    "send.before_commit": "The provider's answer is written with all that follows from it, not committed.",
    "send.after_commit": "The answer is recorded; no task was enqueued for what follows from it.",
    "lookup.before_call": "A submission whose key may have expired is leased; the provider was not asked for it.",
    "lookup.after_call": "The provider's record was read; its content is not written.",
    # Workers: polling payouts whose webhook never came.
    "poll.after_passing_on": "The payouts beyond this worker's capacity are enqueued; nothing was postponed.",
    "poll.before_call": "The polls are recorded and due again later; the provider was not asked.",
    "poll.after_call": "The provider has answered; its answers are not written.",
    # Workers: applying the provider's events. After the commit comes `message.before_ack`.
    "apply.before_commit": "The provider's events are applied and their money moved, not committed.",
    # Workers: releasing batches whose time has come.
    "release.before_commit": "A batch's money is reserved and its payouts queued, not committed.",
    "release.after_commit": "Batches are released; no task was enqueued for their payouts.",
    "release.after_enqueue": "Batches are released and their payouts enqueued; other groups wait.",
    # Workers: customers' webhooks.
    "deliver.before_claim": "The results of calls are recorded; nothing more was leased.",
    "deliver.before_call": "Deliveries are leased; the customer was not called.",
    "deliver.after_call": "The customer has answered; the result is not recorded.",
    # Workers: registering drivers with the provider.
    "register.after_passing_on": "The drivers beyond this worker's capacity are enqueued; none was leased.",
    "register.before_call": "Drivers are leased; the provider was not called.",
    "register.after_call": "The provider has answered; its answer is not written.",
    # Workers: top-ups, requested first and then polled until they have settled.
    "topup.after_passing_on": "The top-ups beyond this worker's capacity are enqueued; nothing was leased.",
    "topup.before_call": "Top-ups are leased; the provider was not called for this one.",
    "topup.after_call": "The provider has answered; its answer is not written.",
    "topup.before_commit": "The answer is written, and the credit if it has settled, not committed.",
    # The scheduler.
    "tick.after_claim": "Due rows are postponed; no task was enqueued for them.",
    "tick.after_enqueue": "Due rows are postponed and enqueued; the next ones are not claimed.",
}
"""Each failpoint, with what has happened there and what has not."""


class FailpointError(ValueError):
    """The text names no failpoint."""


def parse_failpoint(text: str) -> tuple[str, int]:
    """Parse `name` or `name:count`, where `count` is the pass that kills; raises FailpointError."""
    name, _, nth = text.partition(":")
    if name not in FAILPOINTS or not (nth or "1").isdecimal() or int(nth or 1) < 1:
        raise FailpointError(
            "OVNPAY_FAILPOINT names no failpoint; the names are in shared/platform/failpoints.py, "
            "and a suffix :2 means the second pass"
        )
    return name, int(nth or 1)


_armed: str | None = None
_last = 1
_passes = itertools.count(1)


def arm_failpoint(text: str) -> None:
    """Arm the failpoint that `text` names, in the form of `OVNPAY_FAILPOINT`; an empty text disarms."""
    global _armed, _last, _passes
    _armed, _last = parse_failpoint(text) if text else (None, 1)
    _passes = itertools.count(1)


def failpoint(name: str) -> None:
    """Kill this process if the failpoint is armed; otherwise it costs one comparison."""
    if _armed is not None and _armed == name and next(_passes) == _last:
        _die(name)


def _die(name: str) -> NoReturn:
    os.write(2, f"failpoint {name}: killed\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # until the signal arrives
    raise AssertionError("the process survived SIGKILL")


with contextlib.suppress(FailpointError):  # loading the settings reports it
    arm_failpoint(os.environ.get(FAILPOINT_VARIABLE, ""))
