"""A payroll clerk who types `ovnpay` commands."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.customer import Customer


@dataclass
class Clerk:
    """A payroll clerk of a new carrier: an API key, three drivers, and a folder for files."""

    customer: Customer
    drivers: list[str]
    folder: Path

    def file(self, *rows: Sequence[object], name: str = "payday.csv") -> Path:
        """Write a settlement; each row is (number of the driver, dollars, load, description)."""
        path = self.folder / name
        lines = [["Driver ID", "Amount", "Load", "Description", "Note"]]
        lines += [[self.drivers[int(str(row[0]))], *map(str, row[1:]), "=1+1"] for row in rows]
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
        return path

    def command(self, *arguments: object, url: str | None = None) -> tuple[list[str], dict[str, str]]:
        """Return the command line, and an environment with the key."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OVNPAY_")}
        key = self.customer.headers["Authorization"].removeprefix("Bearer ")
        environment = clean | {"OVNPAY_API_URL": url or self.customer.url, "OVNPAY_API_KEY": key}
        return [sys.executable, "-m", "shared.cli", *map(str, arguments)], environment

    def run(self, *arguments: object, url: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `ovnpay` with these arguments to its end."""
        command, environment = self.command(*arguments, url=url)
        return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def pay(self, path: Path, *more: object) -> tuple[int, Any]:
        """Run `ovnpay pay`; return its exit code and its document."""
        done = self.run("pay", path, "--yes", "--json", *more)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def payouts(self) -> list[Any]:
        return list(self.customer.items("/api/v1/payouts"))

    def batches(self) -> int:
        return int(self.customer.get("/api/v1/batches").data["total"])
