"""`ovnpay pay FILE`: every driver of a file is paid once, whatever happens in between."""

import csv
import json
import signal
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.acceptance.lossy_proxy import running_proxy
from tests.support.clerk import Clerk
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def carrier(fast_stack: Stack) -> Iterator[tuple[Customer, list[str]]]:
    """Return a key with $1,000 in its wallet and three verified drivers; wait at the end until no payout is open."""
    customer = Organization(fast_stack).sandbox()
    registered = [customer.register(name)["id"] for name in ("Ann Axle", "Bob Brake", "=Cy Clutch")]
    drivers = [customer.until_verified(driver_id)["ovnDriverId"] for driver_id in registered]
    top_up(customer, 100_000)
    yield customer, drivers
    until(lambda: customer.balance()["inTransit"] == 0, "no payout is in transit")


@pytest.fixture
def clerk(carrier: tuple[Customer, list[str]], tmp_path: Path) -> Clerk:
    """A clerk with an empty folder."""
    return Clerk(*carrier, tmp_path)


def top_up(customer: Customer, amount_cents: int) -> None:
    """Add money and wait until it is available."""
    before_cents = customer.available_cents()
    customer.post("/api/v1/funding/topup", {"amount": amount_cents, "method": "rtp"}).data  # noqa: B018
    until(lambda: customer.available_cents() == before_cents + amount_cents, "the top-up has settled")


def load() -> str:
    """Return a load that no payout has."""
    return f"L-{uuid.uuid4().hex[:12]}"


def test_file_is_paid_once_and_recognized_under_another_name(clerk: Clerk) -> None:
    # Given a file of three rows
    first, second = load(), load()
    path = clerk.file((0, "20.00", first, "Linehaul"), (1, "$10.50", second, "+1 stop"), (2, "5", "", "Bonus"))
    before, before_cents = len(clerk.payouts()), clerk.customer.available_cents()
    # When it is paid
    done = clerk.run("pay", path, "--yes")
    # Then the output has the cost, and every driver is paid
    assert done.returncode == 0, done.stderr
    assert "3 payouts to 3 drivers" in done.stdout
    assert "columns that the API doesn't have are ignored and kept in the results: Note" in done.stdout
    assert "1 rows have no load" in done.stdout
    assert "all 3 paid" in done.stdout
    assert clerk.customer.available_cents() == before_cents - 3_550
    # and the results match the rows and contain no formulas
    with path.with_name("payday.results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["Amount"], row["status"], row["fee"], row["netAmount"]) for row in rows] == [
        ("20.00", "completed", "0.10", "19.90"),
        ("$10.50", "completed", "0.05", "10.45"),
        ("5", "completed", "0.03", "4.97"),
    ]
    assert [(row["Description"], row["Note"]) for row in rows[1:2]] == [("'+1 stop", "'=1+1")]
    # When the same content is submitted with another name, row order, line ends and a byte order mark
    header, *lines = path.read_text().splitlines()
    again = path.with_name("payday (2).csv")
    again.write_bytes(("\ufeff" + "\r\n".join([header, *reversed(lines)])).encode())
    done = clerk.run("pay", again, "--yes")
    # Then it is recognized, and no driver is paid again
    assert done.returncode == 0
    assert "already submitted as batch_" in done.stdout
    assert "all 3 paid" in done.stdout
    assert len(clerk.payouts()) == before + 3
    assert clerk.customer.available_cents() == before_cents - 3_550


def test_invalid_file_submits_nothing(clerk: Clerk) -> None:
    # Given a file with one valid row
    path = clerk.file((0, "1.00", load(), "fine"), (1, "-1.00", load(), "negative"), (2, "1.00", "L" * 101, ""))
    path.write_text(path.read_text() + "OVN-NOBODY,1.00,,,\n")
    before = len(clerk.payouts()), clerk.batches()
    # When it is paid
    done = clerk.run("pay", path, "--yes")
    # Then every error is reported with row and column, and nothing is created
    assert done.returncode == 2
    assert [line.split(": ")[:2] for line in done.stdout.splitlines()] == [
        [f"{path}:3", "Amount"],
        [f"{path}:4", "Load"],
        [f"{path}:5", "Driver ID"],
    ]
    assert "3 errors; nothing was sent" in done.stderr
    assert (len(clerk.payouts()), clerk.batches()) == before


def test_nothing_is_submitted_without_confirmation_or_on_a_dry_run(clerk: Clerk) -> None:
    path = clerk.file((0, "1.00", load(), ""))
    before = clerk.batches()
    assert "Give --yes" in clerk.run("pay", path).stderr
    done = clerk.run("pay", path, "--dry-run")
    assert (done.returncode, "$1.00" in done.stdout) == (0, True)
    assert clerk.batches() == before


def test_paid_load_is_rejected_unless_allowed_with_a_reason(clerk: Clerk) -> None:
    # Given a load that is paid
    paid = load()
    assert clerk.pay(clerk.file((0, "1.00", paid, "once")), "--no-follow")[0] == 0
    # When another file pays it again
    path = clerk.file((1, "2.00", load(), ""), (0, "3.00", paid, "again"), name="more.csv")
    code, said = clerk.pay(path)
    # Then its row is rejected, and nothing is submitted
    assert (code, said["error"]["code"]) == (1, "ROWS_REFUSED")
    (problem,) = said["problems"]
    assert (problem["row"], problem["column"]) == (3, "Load")
    assert "already pays this driver for this load (DUPLICATE_PAYOUT)" in problem["message"]
    # unless a reason is given
    assert clerk.run("pay", path, "--yes", "--allow-duplicates").returncode == 2
    again = ("--no-follow", "--allow-duplicates", "--reason", "the first went to an old account")
    code, said = clerk.pay(path, *again)
    assert (code, said["alreadyHandedIn"]) == (0, False)
    # and then only once
    code, said = clerk.pay(path, *again)
    assert (code, said["alreadyHandedIn"]) == (0, True)
    assert sum(payout["loadId"] == paid for payout in clerk.payouts()) == 2


def test_row_without_load_is_recognized_in_a_changed_file(clerk: Clerk) -> None:
    # Given a file without loads that is paid
    bonus = (0, "20.00", "", f"Bonus {uuid.uuid4().hex[:8]}")
    done = clerk.run("pay", clerk.file(bonus), "--yes", "--no-follow")
    assert "or with changes" in done.stdout
    before = len(clerk.payouts()), clerk.batches()
    # When it is submitted again with one more row, or with another urgency
    longer, faster = clerk.file(bonus, (1, "2.00", load(), ""), name="longer.csv"), ("--urgency", "same_day")
    for path, more in ((longer, ()), (clerk.file(bonus), faster)):
        code, said = clerk.pay(path, *more)
        # Then that row is rejected, and nothing is submitted
        assert (code, said["error"]["code"]) == (1, "ROWS_REFUSED")
        (problem,) = said["problems"]
        assert problem["row"] == 2
        assert "already pays this driver the same amount and description" in problem["message"]
        assert "--allow-duplicates --reason TEXT" in said["error"]["message"]
    assert (len(clerk.payouts()), clerk.batches()) == before
    # unless a reason is given
    code, said = clerk.pay(longer, "--no-follow", "--allow-duplicates", "--reason", "two bonuses")
    assert (code, said["alreadyHandedIn"]) == (0, False)


def test_run_after_a_kill_during_submission_pays_once(clerk: Clerk) -> None:
    # Given a run that is killed after the batch is created and before its response arrives
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
    # Then it continues with that batch, and every driver is paid once
    assert (code, said["alreadyHandedIn"], said["summary"]["paid"]) == (0, True, 2)
    assert len(clerk.payouts()) == before + 2
    assert clerk.customer.available_cents() == before_cents - 300


def test_request_with_lost_response_is_repeated_with_the_same_key(clerk: Clerk) -> None:
    # Given a network that loses the first response to each step
    path = clerk.file((0, "1.00", "", "no load to know it by"))
    before = len(clerk.payouts())
    with running_proxy(clerk.customer.url) as (wire, url):
        wire.loses = lambda method, path: method == "POST" and wire.requests.count((method, path)) == 1
        # When the file is paid
        done = clerk.run("pay", path, "--yes", "--no-follow", url=url)
    # Then it reports each repetition, and pays once
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("with the same Idempotency-Key (attempt 2 of") == 3
    assert len(clerk.payouts()) == before + 1


def test_scheduled_file_waits_and_can_be_rescheduled_and_canceled(clerk: Clerk) -> None:
    # Given a file that is scheduled
    path = clerk.file((0, "1.00", load(), ""))
    at = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    done = clerk.run("pay", path, "--yes", "--at", at.isoformat())
    assert (done.returncode, f"{at:%H:%M} UTC" in done.stdout) == (0, True)
    # When the same command runs again, it still waits; a different command needs a decision
    code, said = clerk.pay(path, "--at", at.isoformat())
    assert (code, said["alreadyHandedIn"]) == (0, True)
    assert clerk.run("pay", path, "--yes").returncode == 1
    (batch_id,) = said["batchIds"]
    assert clerk.customer.get(f"/api/v1/batches/{batch_id}").data["status"] == "queued"
    # Then it can be rescheduled and canceled
    assert clerk.run("batches", "reschedule", batch_id, "--at", "tomorrow 9am").returncode == 0
    assert clerk.run("batches", "cancel", batch_id).returncode == 0
    # and what was canceled can be submitted again
    code, said = clerk.pay(path, "--no-follow")
    assert (code, said["alreadyHandedIn"], said["outcome"]) == (0, False, "released")


def test_ctrl_c_stops_watching_not_paying(clerk: Clerk, fast_stack: Stack) -> None:
    # Given a payout whose webhooks are delayed
    path = clerk.file((0, "1.00", load(), ""))
    with Simulator(fast_stack["paystream"]).webhooks_paused():
        command, environment = clerk.command("pay", path, "--yes")
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        seen = next(line for line in process.stderr if "0 of 1" in line)
        # When the clerk presses Ctrl-C
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        # Then the output says that it continues, and how to watch it
        assert (process.returncode, "the payouts continue" in said) == (130, True), seen + said
        watch = said.split("ovnpay batches follow ")[1].split()
    # and it completes
    done = clerk.run("batches", "follow", *watch)
    assert (done.returncode, "all 1 paid" in done.stdout) == (0, True), done.stderr


def test_failed_payout_is_reported_with_its_reason_and_can_be_retried(clerk: Clerk) -> None:
    # Given a row that the bank rejects once
    path = clerk.file((0, "1.00", load(), ""), (1, "2.00", load(), "[simulate:fail:BANK_REJECTED]"))
    # When the file is paid
    done = clerk.run("pay", path, "--yes")
    # Then one is paid, and the output has the reason of the other and the command to retry it
    assert done.returncode == 1
    assert "1 of 2 paid" in done.stdout
    assert "1 payouts: BANK_REJECTED" in done.stdout
    batch_id = done.stderr.split("ovnpay batches retry-failed ")[1].split()[0]
    (failed,) = json.loads(clerk.run("batches", "results", batch_id, "--json").stdout)["items"][1:]
    assert "failure" in clerk.run("payouts", "show", failed["id"]).stdout
    assert "1 retried, 0 rejected" in clerk.run("batches", "retry-failed", batch_id).stdout


def test_error_has_a_sentence_a_request_id_and_an_exit_code(clerk: Clerk) -> None:
    unknown = clerk.run("payouts", "show", "pay_nobody", "--json")
    assert unknown.returncode == 1
    assert json.loads(unknown.stdout)["error"].items() >= {"code": "PAYOUT_NOT_FOUND", "status": 404}.items()
    assert "PAYOUT_NOT_FOUND, request " in unknown.stderr
    away = clerk.run("balance", url="http://127.0.0.1:9")
    assert (away.returncode, "can't connect" in away.stderr) == (3, True)
    assert clerk.run("balance", url="http://pay.example.com").returncode == 2


def test_without_funds_nothing_moves_and_the_command_continues_after_a_top_up(clerk: Clerk) -> None:
    # Given a file that costs $50 more than the balance
    before, before_cents = clerk.batches(), clerk.customer.available_cents()
    path = clerk.file((0, f"{before_cents // 100}.{before_cents % 100:02}", load(), ""), (1, "50.00", load(), ""))
    # When it is to be paid
    code, said = clerk.pay(path)
    # Then it names the shortfall, and nothing is submitted
    assert (code, said["error"]["code"]) == (1, "INSUFFICIENT_FUNDS")
    assert "$50.00 is missing" in said["error"]["message"]
    assert clerk.batches() == before
    # and a batch on hold reports the same and moves nothing
    assert clerk.pay(path, "--hold")[0] == 0
    assert "is submitted and waits as batch_" in clerk.pay(path)[1]["error"]["message"]
    assert clerk.customer.available_cents() == before_cents
    # When the money arrives
    top_up(clerk.customer, 5_000)
    # Then the same command pays
    code, said = clerk.pay(path, "--no-follow")
    assert (code, said["outcome"], clerk.customer.available_cents()) == (0, "released", 0)
    assert clerk.batches() == before + 1
