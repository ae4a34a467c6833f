"""`ovnpay`: one command for everything. Services and the local system run as modules of their own."""

from shared.cli.main import main

__all__ = ["main"]
