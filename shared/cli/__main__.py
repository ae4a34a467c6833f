"""`python -m shared.cli` runs `ovnpay`."""

from shared.cli.main import main

main()
