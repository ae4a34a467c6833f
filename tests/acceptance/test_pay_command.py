"""`ovnpay pay FILE`: a payroll clerk's Friday. One file, everybody paid once, whatever happens in between."""

import csv
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.lossy_proxy import running_proxy
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack


@dataclass
class Clerk:
    """Who pays for a carrier of these tests' own: a key, three drivers, and a folder for files."""

    customer: Customer
    drivers: list[str]
    folder: Path

    def file(self, *rows: Sequence[object], name: str = "payday.csv") -> Path:
        """A settlement of (driver's number, dollars, load, description)."""
        path = self.folder / name
        lines = [["Driver ID", "Amount", "Load", "Description", "Note"]]
        lines += [[self.drivers[int(str(row[0]))], *map(str, row[1:]), "=1+1"] for row in rows]
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
        return path

    def command(self, *arguments: object, url: str | None = None) -> tuple[list[str], dict[str, str]]:
        """The command line, and its environment with the key."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OVNPAY_")}
        key = self.customer.headers["Authorization"].removeprefix("Bearer ")
        environment = clean | {"OVNPAY_API_URL": url or self.customer.url, "OVNPAY_API_KEY": key}
        return [sys.executable, "-m", "shared.cli", *map(str, arguments)], environment

    def run(self, *arguments: object, url: str | None = None) -> subprocess.CompletedProcess[str]:
        """`ovnpay` with these arguments, to its end."""
        command, environment = self.command(*arguments, url=url)
        return subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def pay(self, path: Path, *more: object) -> tuple[int, Any]:
        """`ovnpay pay`: its exit code and its document."""
        done = self.run("pay", path, "--yes", "--json", *more)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def payouts(self) -> list[Any]:
        return list(self.customer.items("/api/v1/payouts"))

    def batches(self) -> int:
        return int(self.customer.get("/api/v1/batches").data["total"])


@pytest.fixture(scope="module")
def carrier(fast_stack: Stack) -> Iterator[tuple[Customer, list[str]]]:
    """The carrier's key, with $1,000 in its wallet, and three verified drivers; in the end nothing is on its way."""
    customer = Organization(fast_stack).sandbox()
    registered = [customer.register(name)["id"] for name in ("Ann Axle", "Bob Brake", "=Cy Clutch")]
    drivers = [customer.until_verified(driver_id)["ovnDriverId"] for driver_id in registered]
    top_up(customer, 100_000)
    yield customer, drivers
    until(lambda: customer.balance()["inTransit"] == 0, "nobody is being paid")


@pytest.fixture
def clerk(carrier: tuple[Customer, list[str]], tmp_path: Path) -> Clerk:
    """The clerk, with an empty folder."""
    return Clerk(*carrier, tmp_path)


def top_up(customer: Customer, amount_cents: int) -> None:
    """Money by the fast way."""
    before_cents = customer.available_cents()
    customer.post("/api/v1/funding/topup", {"amount": amount_cents, "method": "rtp"}).data  # noqa: B018
    until(lambda: customer.available_cents() == before_cents + amount_cents, "the top-up has settled")


def load() -> str:
    """A load that nobody was paid for."""
    return f"L-{uuid.uuid4().hex[:12]}"


def test_a_file_is_paid_once_and_known_again_under_another_name(clerk: Clerk) -> None:
    # Given a file of three rows
    first, second = load(), load()
    path = clerk.file((0, "20.00", first, "Linehaul"), (1, "$10.50", second, "+1 stop"), (2, "5", "", "Bonus"))
    before, before_cents = len(clerk.payouts()), clerk.customer.available_cents()
    # When it is paid
    done = clerk.run("pay", path, "--yes")
    # Then the clerk reads what it cost and that everybody was paid
    assert done.returncode == 0, done.stderr
    assert "3 payouts to 3 drivers" in done.stdout
    assert "not handed in, for the API has no such field: Note" in done.stdout
    assert "1 rows have no load" in done.stdout
    assert "all 3 paid" in done.stdout
    assert clerk.customer.available_cents() == before_cents - 3_550
    # and the results stand beside it, row by row, harmless in a spreadsheet
    with path.with_name("payday.results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["Amount"], row["status"], row["fee"], row["netAmount"]) for row in rows] == [
        ("20.00", "completed", "0.10", "19.90"),
        ("$10.50", "completed", "0.05", "10.45"),
        ("5", "completed", "0.03", "4.97"),
    ]
    assert [(row["Description"], row["Note"]) for row in rows[1:2]] == [("'+1 stop", "'=1+1")]
    # When the same content comes again: another name, another order, other line ends, a byte order mark
    header, *lines = path.read_text().splitlines()
    again = path.with_name("payday (2).csv")
    again.write_bytes(("\ufeff" + "\r\n".join([header, *reversed(lines)])).encode())
    done = clerk.run("pay", again, "--yes")
    # Then it says so, and nobody is paid again
    assert done.returncode == 0
    assert "already handed in as batch_" in done.stdout
    assert "all 3 paid" in done.stdout
    assert len(clerk.payouts()) == before + 3
    assert clerk.customer.available_cents() == before_cents - 3_550


def test_a_bad_file_sends_nothing(clerk: Clerk) -> None:
    # Given a file of which one row is right
    path = clerk.file((0, "1.00", load(), "fine"), (1, "-1.00", load(), "negative"), (2, "1.00", "L" * 101, ""))
    path.write_text(path.read_text() + "OVN-NOBODY,1.00,,,\n")
    before = len(clerk.payouts()), clerk.batches()
    # When it is to be paid
    done = clerk.run("pay", path, "--yes")
    # Then every error is told with row and column, and there is nothing
    assert done.returncode == 2
    assert [line.split(": ")[:2] for line in done.stdout.splitlines()] == [
        [f"{path}:3", "Amount"],
        [f"{path}:4", "Load"],
        [f"{path}:5", "Driver ID"],
    ]
    assert "3 errors; nothing was sent" in done.stderr
    assert (len(clerk.payouts()), clerk.batches()) == before


def test_nothing_is_sent_without_a_yes_or_on_a_dry_run(clerk: Clerk) -> None:
    path = clerk.file((0, "1.00", load(), ""))
    before = clerk.batches()
    assert "Say --yes" in clerk.run("pay", path).stderr
    done = clerk.run("pay", path, "--dry-run")
    assert (done.returncode, "$1.00" in done.stdout) == (0, True)
    assert clerk.batches() == before


def test_a_load_that_is_paid_is_refused_unless_allowed_with_a_reason(clerk: Clerk) -> None:
    # Given a load that is paid
    paid = load()
    assert clerk.pay(clerk.file((0, "1.00", paid, "once")), "--no-follow")[0] == 0
    # When another file pays it again
    path = clerk.file((1, "2.00", load(), ""), (0, "3.00", paid, "again"), name="more.csv")
    code, said = clerk.pay(path)
    # Then its row is refused, and nothing is handed in
    assert (code, said["error"]["code"]) == (1, "ROWS_REFUSED")
    (problem,) = said["problems"]
    assert (problem["row"], problem["column"]) == (3, "Load")
    assert "already (DUPLICATE_PAYOUT)" in problem["message"]
    # unless somebody says why
    assert clerk.run("pay", path, "--yes", "--allow-duplicates").returncode == 2
    again = ("--no-follow", "--allow-duplicates", "--reason", "the first went to an old account")
    code, said = clerk.pay(path, *again)
    assert (code, said["alreadyHandedIn"]) == (0, False)
    # and then once too
    code, said = clerk.pay(path, *again)
    assert (code, said["alreadyHandedIn"]) == (0, True)
    assert sum(payout["loadId"] == paid for payout in clerk.payouts()) == 2


def test_a_row_without_a_load_is_known_again_in_a_file_that_has_changed(clerk: Clerk) -> None:
    # Given a file without loads that is paid
    bonus = (0, "20.00", "", f"Bonus {uuid.uuid4().hex[:8]}")
    done = clerk.run("pay", clerk.file(bonus), "--yes", "--no-follow")
    assert "or if anything in the file changes" in done.stdout
    before = len(clerk.payouts()), clerk.batches()
    # When it comes again with a row more, or faster
    longer, faster = clerk.file(bonus, (1, "2.00", load(), ""), name="longer.csv"), ("--urgency", "same_day")
    for path, more in ((longer, ()), (clerk.file(bonus), faster)):
        code, said = clerk.pay(path, *more)
        # Then that row is refused, and nothing is handed in
        assert (code, said["error"]["code"]) == (1, "ROWS_REFUSED")
        (problem,) = said["problems"]
        assert problem["row"] == 2
        assert "pays this driver this amount with the same description already" in problem["message"]
        assert "--allow-duplicates --reason TEXT" in said["error"]["message"]
    assert (len(clerk.payouts()), clerk.batches()) == before
    # unless somebody says why
    code, said = clerk.pay(longer, "--no-follow", "--allow-duplicates", "--reason", "two bonuses")
    assert (code, said["alreadyHandedIn"]) == (0, False)


def test_killed_after_handing_in_the_next_run_pays_once(clerk: Clerk) -> None:
    # Given a run that is killed when the batch is there and nobody has heard of it
    path = clerk.file((0, "1.00", load(), ""), (1, "2.00", "", "no load to know it by"))
    before, before_cents = len(clerk.payouts()), clerk.customer.available_cents()
    with running_proxy(clerk.customer.url) as (wire, url):
        wire.loses = lambda method, path: (method, path) == ("POST", "/api/v1/batches")
        command, environment = clerk.command("pay", path, "--yes", url=url)
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert wire.lost.wait(20)
        process.kill()
        process.wait()
    # When the same command runs again
    code, said = clerk.pay(path)
    # Then it goes on with that batch, and everybody is paid once
    assert (code, said["alreadyHandedIn"], said["summary"]["paid"]) == (0, True, 2)
    assert len(clerk.payouts()) == before + 2
    assert clerk.customer.available_cents() == before_cents - 300


def test_lost_answers_are_asked_for_again_under_the_same_key(clerk: Clerk) -> None:
    # Given a network that loses the first answer to each step
    path = clerk.file((0, "1.00", "", "no load to know it by"))
    before = len(clerk.payouts())
    with running_proxy(clerk.customer.url) as (wire, url):
        wire.loses = lambda method, path: method == "POST" and wire.requests.count((method, path)) == 1
        # When the file is paid
        done = clerk.run("pay", path, "--yes", "--no-follow", url=url)
    # Then it says what it does, and pays once
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the same request under the same Idempotency-Key (try 2 of") == 3
    assert len(clerk.payouts()) == before + 1


def test_a_scheduled_file_waits_can_be_moved_and_called_off(clerk: Clerk) -> None:
    # Given a file that is scheduled
    path = clerk.file((0, "1.00", load(), ""))
    at = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    done = clerk.run("pay", path, "--yes", "--at", at.isoformat())
    assert (done.returncode, f"{at:%H:%M} UTC" in done.stdout) == (0, True)
    # When the same command runs again, it waits on; with another wish a person has to decide
    code, said = clerk.pay(path, "--at", at.isoformat())
    assert (code, said["alreadyHandedIn"]) == (0, True)
    assert clerk.run("pay", path, "--yes").returncode == 1
    (batch_id,) = said["batchIds"]
    assert clerk.customer.get(f"/api/v1/batches/{batch_id}").data["status"] == "queued"
    # Then it can be moved, and called off
    assert clerk.run("batches", "reschedule", batch_id, "--at", "tomorrow 9am").returncode == 0
    assert clerk.run("batches", "cancel", batch_id).returncode == 0
    # and what was called off can be handed in again
    code, said = clerk.pay(path, "--no-follow")
    assert (code, said["alreadyHandedIn"], said["outcome"]) == (0, False, "released")


def test_ctrl_c_stops_watching_and_not_paying(clerk: Clerk, fast_stack: Stack) -> None:
    # Given a payday whose end is not heard of for a while
    path = clerk.file((0, "1.00", load(), ""))
    with Simulator(fast_stack["paystream"]).webhooks_paused():
        command, environment = clerk.command("pay", path, "--yes")
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        seen = next(line for line in process.stderr if "0 of 1" in line)
        # When the clerk presses Ctrl-C
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        # Then he is told that it goes on, and how to watch
        assert (process.returncode, "the payouts go on" in said) == (130, True), seen + said
        watch = said.split("ovnpay batches follow ")[1].split()
    # and it does
    done = clerk.run("batches", "follow", *watch)
    assert (done.returncode, "all 1 paid" in done.stdout) == (0, True), done.stderr


def test_what_fails_is_told_with_its_reason_and_can_be_tried_again(clerk: Clerk) -> None:
    # Given a row that the bank rejects once
    path = clerk.file((0, "1.00", load(), ""), (1, "2.00", load(), "[simulate:fail:BANK_REJECTED]"))
    # When the file is paid
    done = clerk.run("pay", path, "--yes")
    # Then one is paid, the other's reason is there, and so is the way on
    assert done.returncode == 1
    assert "1 of 2 paid" in done.stdout
    assert "1 times BANK_REJECTED" in done.stdout
    batch_id = done.stderr.split("ovnpay batches retry-failed ")[1].split()[0]
    (failed,) = json.loads(clerk.run("batches", "results", batch_id, "--json").stdout)["items"][1:]
    assert "failure" in clerk.run("payouts", "show", failed["id"]).stdout
    assert "1 tried again, 0 refused" in clerk.run("batches", "retry-failed", batch_id).stdout


def test_errors_are_a_sentence_with_the_request_and_an_exit_code(clerk: Clerk) -> None:
    unknown = clerk.run("payouts", "show", "pay_nobody", "--json")
    assert unknown.returncode == 1
    assert json.loads(unknown.stdout)["error"].items() >= {"code": "PAYOUT_NOT_FOUND", "status": 404}.items()
    assert "PAYOUT_NOT_FOUND, request " in unknown.stderr
    away = clerk.run("balance", url="http://127.0.0.1:9")
    assert (away.returncode, "can't connect" in away.stderr) == (3, True)
    assert clerk.run("balance", url="http://pay.example.com").returncode == 2


def test_without_the_money_nothing_moves_and_the_same_command_goes_on_after_a_top_up(clerk: Clerk) -> None:
    # Given a file that costs $50 more than there is
    before, before_cents = clerk.batches(), clerk.customer.available_cents()
    path = clerk.file((0, f"{before_cents // 100}.{before_cents % 100:02}", load(), ""), (1, "50.00", load(), ""))
    # When it is to be paid
    code, said = clerk.pay(path)
    # Then it says what is missing, and nothing was handed in
    assert (code, said["error"]["code"]) == (1, "INSUFFICIENT_FUNDS")
    assert "$50.00 is missing" in said["error"]["message"]
    assert clerk.batches() == before
    # and one that waits for its release says the same, and moves nothing either
    assert clerk.pay(path, "--hold")[0] == 0
    assert "is handed in and waits as batch_" in clerk.pay(path)[1]["error"]["message"]
    assert clerk.customer.available_cents() == before_cents
    # When the money is there
    top_up(clerk.customer, 5_000)
    # Then the same command pays
    code, said = clerk.pay(path, "--no-follow")
    assert (code, said["outcome"], clerk.customer.available_cents()) == (0, "released", 0)
    assert clerk.batches() == before + 1
