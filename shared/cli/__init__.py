"""`ovnpay`: `client` uses the public API only, `operator` the installation's database."""

from shared.cli.main import main

__all__ = ["main"]
