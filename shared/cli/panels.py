"""The headings under which `ovnpay --help` lists its commands."""

from typing import Final

INSTALLATION: Final = "The installation (needs its database or its processes)"
