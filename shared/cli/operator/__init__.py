"""`ovnpay` for operators: commands that need the installation's database, Redis or processes."""

import sys
from typing import Final, NoReturn

INSTALLATION_PANEL: Final = "Operators (need the installation's database or its processes)"


def fail_command(command: str, message: str, exit_code: int = 1) -> NoReturn:
    """Print `ovnpay COMMAND: message` to stderr and exit."""
    print(f"ovnpay {command}: {message}", file=sys.stderr)
    raise SystemExit(exit_code)
