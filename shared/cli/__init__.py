"""`ovnpay`: `client` uses the public API only, `operator` uses the installation's database; `main` joins them.

Services, the local system and the simulator run as modules of their own. Owns no tables and takes no locks itself.
"""

from shared.cli.main import main

__all__ = ["main"]
