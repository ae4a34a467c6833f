"""Child processes with default signal dispositions, however the tests were started.

A process started by `nohup`, or in the background of a script, ignores SIGHUP or SIGINT, and so would every child:
`ovnpay up` could not be stopped by the signals that the tests send. A signal that is caught is not ignored, and `exec`
resets it to its default.
"""

import signal
from types import FrameType


def catch_ignored_signals() -> None:
    """Catch and drop each termination signal that this process was started to ignore. Call it in the main thread."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _drop)


def _drop(number: int, frame: FrameType | None) -> None:
    """Stay as deaf to the signal as this process was started."""
