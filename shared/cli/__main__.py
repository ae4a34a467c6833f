"""`python -m shared.cli` is `ovnpay`."""

from shared.cli.main import main

main()
