"""A replacement for util-linux's `setpriv`, for a Linux without it.

Run as a program (`python -I -S setpriv.py OPTIONS -- COMMAND`), never imported. Takes the options that `launch.py`
writes; changing the user keeps CAP_DAC_OVERRIDE. The death signal is set last, because changing the user clears it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
_SECBIT_NO_SETUID_FIXUP = 4
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def main(arguments: list[str]) -> None:
    """Apply the options to this process and execute the command. Raises OSError if the system refuses."""
    separator = arguments.index("--")
    options = dict(_pairs(arguments[:separator]))
    command = arguments[separator + 1 :]
    libc = ctypes.CDLL(None, use_errno=True)
    if "--reuid" in options:
        _become(libc, int(options["--reuid"]), int(options["--regid"]))
    if "--pdeathsig" in options:
        parent = os.getppid()
        _check(libc.prctl(_PR_SET_PDEATHSIG, signal.Signals[f"SIG{options['--pdeathsig']}"], 0, 0, 0))
        if os.getppid() != parent:  # the parent died before the line above: no signal will come
            sys.exit(1)
    os.execvp(command[0], command)


def _become(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    # Changing the user keeps every capability now; all but one are dropped below.
    _check(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    os.setresuid(uid, uid, uid)
    only = 1 << _CAP_DAC_OVERRIDE
    data = (_Data * 2)(_Data(only, only, only), _Data(0, 0, 0))
    _check(libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), ctypes.byref(data)))
    _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0))


def _pairs(arguments: list[str]) -> list[tuple[str, str]]:
    words = [word for word in arguments if word != "--clear-groups"]
    return list(zip(words[::2], words[1::2], strict=True))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv[1:])
