"""Crash points: the named moments between two side effects at which a test lets this process die.

`OVNPAY_FAILPOINT=name` kills the process with SIGKILL the first time it comes to that point, and `name:3` the third
time: no handler runs, no transaction ends well, nothing is flushed. It is for tests and for rehearsals on a system of
one's own; production refuses to start with it. A ring is sent by a thread of its own, so a point after one means: it
was asked for, and perhaps heard.
"""

import contextlib
import itertools
import os
import signal
from typing import Final, NoReturn

FAILPOINT_VARIABLE: Final = "OVNPAY_FAILPOINT"

FAILPOINTS: Final[dict[str, str]] = {
    # The gateway takes payouts in: one, in bulk, instant.
    "accept.before_commit": "The payouts, their reservation, the answers and the audit log are written, not committed.",
    "accept.after_commit": "The payouts are accepted; no bell was rung for them, and nobody was answered.",
    "accept.after_ring": "The payouts are accepted and rung for; nobody was answered.",
    # The gateway makes any other change: cancel, retry, release, top-up, register, and so on.
    "change.before_commit": "The change and the answer under its key are written, not committed.",
    "change.after_commit": "The change is made; no bell was rung for it, and nobody was answered.",
    "change.after_ring": "The change is made and rung for; nobody was answered.",
    "driver_update.after_ring": "A driver's new bank details are stored and rung for; nobody was answered.",
    # The gateway hears the provider.
    "webhook.before_commit": "The provider's notices are written, not committed.",
    "webhook.after_commit": "The notices are stored; no bell was rung for them, and the provider was not answered.",
    "webhook.after_ring": "The notices are stored and rung for; the provider was not answered.",
    # A worker has done all that a message asked for.
    "message.before_ack": "The actor has done its work; its message is not acknowledged and will come again.",
    # Workers: payouts.queue, payouts.submit.
    "queue.before_commit": "Payouts are taken to queued, not committed.",
    "queue.after_commit": "Payouts are queued; no bell was rung for their submission.",
    "submit.before_commit": "Payouts are processing, their submissions written and claimed, not committed.",
    "submit.after_commit": "Submissions are committed and held by us; none was sent, nobody was rung for the rest.",
    # Workers: sending submissions, alone or as the provider's batches.
    "send.after_passing_on": "The bell was rung for what is too much for us; nothing was claimed.",
    "send.before_call": "Submissions are committed and held by us; the provider was not called.",
    "send.after_call": "The provider has answered; its answer is not written.",
    "send.before_commit": "The provider's answer is written with all that follows from it, not committed.",
    "send.after_commit": "The answer is recorded; no bell was rung for what it set in motion.",
    "lookup.before_call": "A submission whose key may be forgotten is held by us; the provider was not asked for it.",
    "lookup.after_call": "The provider's record was read; what it says is not written.",
    # Workers: asking about payouts whose webhook never came.
    "poll.after_passing_on": "The bell was rung for what is too much for us; nothing was put off.",
    "poll.before_call": "The questions are noted and due again later; the provider was not asked.",
    "poll.after_call": "The provider has answered; its answers are not written.",
    # Workers: applying the provider's notices. What comes after the commit is `message.before_ack`.
    "apply.before_commit": "What the provider said is applied and its money moved, not committed.",
    # Workers: releasing batches whose time has come.
    "release.before_commit": "A batch's money is reserved and its payouts queued, not committed.",
    "release.after_commit": "Batches are released; no bell was rung for their payouts.",
    "release.after_ring": "Batches are released and their payouts rung for; other groups wait.",
    # Workers: customers' webhooks.
    "deliver.before_claim": "How calls ended is recorded; nothing more was claimed.",
    "deliver.before_call": "Deliveries are claimed; the customer was not called.",
    "deliver.after_call": "The customer has answered; that is not recorded.",
    # Workers: making drivers known to the provider.
    "register.after_passing_on": "The bell was rung for what is too much for us; nobody was claimed.",
    "register.before_call": "Drivers are held by us; the provider was not called.",
    "register.after_call": "The provider has answered; its answer is not written.",
    # Workers: top-ups, asked for first and then asked after until they have settled.
    "topup.after_passing_on": "The bell was rung for what is too much for us; nothing was claimed.",
    "topup.before_call": "Top-ups are held by us; the provider was not called for this one.",
    "topup.after_call": "The provider has answered; its answer is not written.",
    "topup.before_commit": "The answer is written, and the credit if it has settled, not committed.",
    # The scheduler.
    "tick.after_claim": "Due rows are put off; no bell was rung for them.",
    "tick.after_ring": "Due rows are put off and rung for; the next ones are not looked at.",
}
"""Each point, and what has happened there and what has not."""


class FailpointError(ValueError):
    """OVNPAY_FAILPOINT names no crash point; see shared/platform/failpoints.py. A suffix :2 means the second time."""


def parse_failpoint(text: str) -> tuple[str, int]:
    """The point that `text` names, and at the how manieth pass it kills.

    Raises:
        CrashPointError: it names none.

    """
    name, _, nth = text.partition(":")
    if name not in FAILPOINTS or not (nth or "1").isdecimal() or int(nth or 1) < 1:
        raise FailpointError(FailpointError.__doc__)
    return name, int(nth or 1)


_armed: str | None = None
_last = 1
_passes = itertools.count(1)


def arm_failpoint(text: str) -> None:
    """Has this process die where `text` says, as `OVNPAY_FAILPOINT` does; nowhere, if it is empty."""
    global _armed, _last, _passes
    _armed, _last = parse_failpoint(text) if text else (None, 1)
    _passes = itertools.count(1)


def failpoint(name: str) -> None:
    """Kills this process if it is to die here. Off, it costs one comparison."""
    if _armed is not None and _armed == name and next(_passes) == _last:
        _die(name)


def _die(name: str) -> NoReturn:
    os.write(2, f"crash point {name}: killed\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # the signal is on its way: nothing more is done here
    raise AssertionError("SIGKILL was survived")


with contextlib.suppress(FailpointError):  # the settings refuse it, with a sentence
    arm_failpoint(os.environ.get(FAILPOINT_VARIABLE, ""))
