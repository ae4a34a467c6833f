"""Drivers: invited, then pending, then active, by the provider's word alone; edited and deleted by the customer."""

import uuid

import pytest

from shared.drivers import recipients
from shared.drivers.bank_details import BankAccount, DriverDetails, encrypt_details
from shared.drivers.edit import DriverChanges, apply_driver_changes, soft_delete_driver
from shared.drivers.recipients import LeasedDriver
from shared.drivers.register import NewDriver, register_drivers
from shared.drivers.rows import DriverRow, load_driver
from shared.payouts.lifecycle import Move, transition_payouts
from shared.platform.errors import Conflict, NotFound
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown
from shared.schema.payouts import PayoutStatus as S
from tests.support.world import GRACE, World

PEPPER = "a pepper for tests"


def registered(world: World, *ovn_driver_ids: str) -> list[DriverRow | Conflict]:
    """Registers drivers, committed."""
    news = [NewDriver(one, "John Smith", "john@drivers.example", "+15551234567") for one in ovn_driver_ids]
    with world.engine.begin() as connection:
        return register_drivers(connection, world.wallet_id, news, world.clock.now(), grace=GRACE)


def new_driver(world: World) -> uuid.UUID:
    """One registered driver."""
    [row] = registered(world, f"OVN-{uuid.uuid4().hex}")
    assert isinstance(row, DriverRow)
    return row.id


def told(world: World, driver_id: uuid.UUID, outcome: CallOutcome) -> LeasedDriver:
    """Asks the provider's next question, and hears this."""
    with world.engine.begin() as connection:
        [held] = recipients.claim_drivers(connection, [driver_id], lease_seconds=60)
    with world.engine.begin() as connection:
        recipients.record_recipient_outcome(
            connection, held, outcome, world.clock.now(), pepper=PEPPER, first_seconds=0.3
        )
    return held


def state(world: World, driver_id: uuid.UUID) -> tuple[object, ...]:
    """Status, KYC status, and whether something is due."""
    [row] = world.rows(
        "SELECT status, kyc_status, next_action_at IS NOT NULL FROM drivers WHERE id = :id", id=driver_id
    )
    return row


def recipient() -> Accepted:
    """Paystream has taken the driver on."""
    return Accepted({"id": f"rec_{uuid.uuid4().hex}"})


def methods(*statuses: str) -> Accepted:
    """The verification of the driver's payment methods."""
    return Accepted([{"id": f"pm_{number}", "status": status} for number, status in enumerate(statuses)])


def test_a_driver_becomes_active_by_the_providers_word(world: World) -> None:
    """Step by step; asked again until verified, then nothing is due."""
    driver_id = new_driver(world)
    assert state(world, driver_id) == ("invited", "pending", True)
    asked = told(world, driver_id, recipient())
    assert asked.call(PEPPER).path == "/recipients"
    assert state(world, driver_id) == ("pending", "pending", True)
    told(world, driver_id, methods("pending"))
    assert state(world, driver_id) == ("pending", "pending", True)
    told(world, driver_id, methods("pending", "verified"))
    assert state(world, driver_id) == ("active", "verified", False)


def test_a_rejected_verification_is_final_and_said(world: World) -> None:
    """The driver stays pending, his KYC rejected."""
    driver_id = new_driver(world)
    told(world, driver_id, recipient())
    told(world, driver_id, methods("rejected"))
    assert state(world, driver_id) == ("pending", "rejected", False)


@pytest.mark.parametrize("outcome", [Unknown("no answer"), Throttled(3.0), Accepted("nonsense")])
def test_no_clear_answer_is_asked_again_with_the_same_key(world: World, outcome: CallOutcome) -> None:
    """No second recipient."""
    driver_id = new_driver(world)
    first = told(world, driver_id, outcome)
    assert state(world, driver_id) == ("invited", "pending", True)
    again = told(world, driver_id, recipient())
    assert first.call(PEPPER).idempotency_key == again.call(PEPPER).idempotency_key is not None


def test_a_refused_registration_says_why_and_a_refused_question_is_asked_again(world: World) -> None:
    """The one is an answer, the other none."""
    refused, asked = new_driver(world), new_driver(world)
    told(world, refused, Rejected("VALIDATION_ERROR", "bad e-mail"))
    assert state(world, refused) == ("invited", "pending", False)
    with world.engine.connect() as connection:
        row = load_driver(connection, world.wallet_id, refused)
    assert row is not None
    assert row.last_error == "VALIDATION_ERROR: bad e-mail"
    told(world, asked, recipient())
    told(world, asked, Rejected("NOT_FOUND", "not yet"))
    assert state(world, asked) == ("pending", "pending", True)


def test_an_ovn_driver_id_is_taken_once_in_a_wallet(world: World) -> None:
    """The second is told whose it is, in the same request or later; another wallet may have its own."""
    first, second, other = registered(world, "OVN-1", "OVN-1", "OVN-2")
    assert isinstance(first, DriverRow)
    assert isinstance(other, DriverRow)
    assert isinstance(second, Conflict)
    assert second.code == "DRIVER_EXISTS"
    [again] = registered(world, "OVN-1")
    assert isinstance(again, Conflict)
    assert again.details["driverId"] == second.details["driverId"]
    [elsewhere] = registered(World(world.engine), "OVN-1")
    assert isinstance(elsewhere, DriverRow)


def test_a_driver_is_deleted_once_his_payouts_have_ended(world: World) -> None:
    """409 while one is open; then he is gone for the customer, his id free, his payouts still there."""
    [payout_id], _ = world.leased_submission()
    [(driver_id,)] = world.rows("SELECT driver_id FROM payouts WHERE id = :id", id=payout_id)
    assert isinstance(driver_id, uuid.UUID)

    def remove() -> None:
        with world.engine.begin() as connection:
            soft_delete_driver(connection, world.wallet_id, driver_id, world.clock.now())

    with pytest.raises(Conflict, match="1 payouts"):
        remove()
    with world.engine.begin() as connection:
        transition_payouts(connection, [Move(payout_id, "test")], S.PROCESSING, S.COMPLETED, world.clock.now())
    remove()
    with world.engine.connect() as connection:
        assert load_driver(connection, world.wallet_id, driver_id) is None
    with pytest.raises(NotFound):
        remove()
    assert world.statuses([payout_id]) == ["completed"]


def test_a_driver_switched_off_and_on_is_what_the_provider_says(world: World) -> None:
    """Active only if verified; what is not named stays; another wallet's driver is unknown."""
    verified, unverified = world.driver(), new_driver(world)

    def changed(driver_id: uuid.UUID, **changes: object) -> DriverRow:
        with world.engine.begin() as connection:
            made = DriverChanges(**changes)  # type: ignore[arg-type]
            return apply_driver_changes(connection, world.wallet_id, driver_id, made, world.clock.now(), grace=GRACE)

    assert changed(verified, active=False, name="Jane Doe").status == "inactive"
    again = changed(verified, active=True)
    assert (again.status, again.name, again.email) == ("active", "Jane Doe", "dora@drivers.example")
    changed(unverified, active=False)
    assert changed(unverified, active=True).status == "invited"
    with pytest.raises(NotFound):
        changed(World(world.engine).driver(), name="x")


def test_a_driver_shows_what_he_was_paid_and_what_is_on_its_way(world: World) -> None:
    """`totalPaid` is what has reached him; a returned payout has not."""
    [payout_id], _ = world.leased_submission()
    [(driver_id,)] = world.rows("SELECT driver_id FROM payouts WHERE id = :id", id=payout_id)

    def shown() -> tuple[int, int]:
        with world.engine.connect() as connection:
            row = load_driver(connection, world.wallet_id, driver_id)  # type: ignore[arg-type]
        assert row is not None
        return row.total_paid_cents, row.pending_payouts

    assert shown() == (0, 1)
    for source, target, figures in [(S.PROCESSING, S.COMPLETED, (44_750, 0)), (S.COMPLETED, S.RETURNED, (0, 0))]:
        with world.engine.begin() as connection:
            transition_payouts(connection, [Move(payout_id, "test")], source, target, world.clock.now())
        assert shown() == figures


def give_account(world: World, driver_id: uuid.UUID, number: str) -> None:
    """The customer gives a bank account."""
    sealed = encrypt_details(DriverDetails(BankAccount(number, "021000021")), PEPPER)
    with world.engine.begin() as connection:
        changes = DriverChanges(sealed_details=sealed)
        apply_driver_changes(connection, world.wallet_id, driver_id, changes, world.clock.now(), grace=GRACE)


def kept(world: World, driver_id: uuid.UUID) -> tuple[object, ...]:
    """The last four digits, and whether anything is still sealed."""
    [row] = world.rows(
        "SELECT bank_account_last4, sealed_details IS NOT NULL FROM drivers WHERE id = :id", id=driver_id
    )
    return row


def test_a_bank_account_is_passed_on_and_not_kept(world: World) -> None:
    """Given before the provider knows him, it waits; he can be paid again once it is verified."""
    driver_id = new_driver(world)
    give_account(world, driver_id, "000123456789")
    assert told(world, driver_id, recipient()).call(PEPPER).body.get("bankAccount") is None
    assert kept(world, driver_id) == (None, True)
    passed = told(world, driver_id, Accepted({"id": "pm_1", "status": "pending"})).call(PEPPER)
    assert passed.body["bankAccount"]["accountNumber"] == "000123456789"
    assert passed.body["bankAccount"]["accountHolderName"] == "John Smith"
    assert kept(world, driver_id) == ("6789", False)
    assert state(world, driver_id) == ("pending", "pending", True)
    told(world, driver_id, methods("verified"))
    assert state(world, driver_id) == ("active", "verified", False)
    row = world.rows("SELECT CAST(drivers AS text) FROM drivers WHERE id = :id", id=driver_id)
    assert "000123456789" not in str(row)


def test_an_unclear_answer_sends_the_same_account_under_the_same_key(world: World) -> None:
    """One replaced meanwhile goes out next, under another."""
    driver_id = new_driver(world)
    told(world, driver_id, recipient())
    give_account(world, driver_id, "000111111111")
    first = told(world, driver_id, Unknown("no answer")).call(PEPPER)
    assert kept(world, driver_id) == (None, True)
    with world.engine.begin() as connection:
        [held] = recipients.claim_drivers(connection, [driver_id], lease_seconds=60)
    assert held.call(PEPPER) == first
    give_account(world, driver_id, "000222222222")
    with world.engine.begin() as connection:
        answer = Accepted({"id": "pm_1", "status": "pending"})
        recipients.record_recipient_outcome(
            connection, held, answer, world.clock.now(), pepper=PEPPER, first_seconds=0.3
        )
    assert kept(world, driver_id) == ("1111", True)
    second = told(world, driver_id, Accepted({"id": "pm_2", "status": "pending"})).call(PEPPER)
    assert second.idempotency_key != first.idempotency_key
    assert kept(world, driver_id) == ("2222", False)


def test_a_refused_account_is_forgotten_and_said(world: World) -> None:
    """He is paid as before, once the provider has said that his old account still holds."""
    driver_id = new_driver(world)
    told(world, driver_id, recipient())
    told(world, driver_id, methods("verified"))
    give_account(world, driver_id, "000123456789")
    assert state(world, driver_id) == ("pending", "pending", True)
    told(world, driver_id, Rejected("VALIDATION_ERROR", "no such routing number"))
    assert kept(world, driver_id) == (None, False)
    assert state(world, driver_id) == ("pending", "pending", True)
    told(world, driver_id, methods("verified"))
    assert state(world, driver_id) == ("active", "verified", False)
    with world.engine.connect() as connection:
        row = load_driver(connection, world.wallet_id, driver_id)
    assert row is not None
    assert row.last_error == "VALIDATION_ERROR: no such routing number"


def test_a_refusal_that_repeats_the_account_is_kept_without_it(world: World) -> None:
    """The provider's words are shown to the customer and stay in a row: the number must not be in them."""
    # Given a driver whose account is on its way
    driver_id = world.driver()
    account = BankAccount("000987654321", "021000021", account_holder_name="Ada Driver")
    sealed = encrypt_details(DriverDetails(account), PEPPER)
    on_its_way = "UPDATE drivers SET sealed_details = :sealed, next_action_at = now() WHERE id = :id"
    world.execute(on_its_way, id=driver_id, sealed=sealed)
    # When the provider refuses it, and says it all again
    told(world, driver_id, Rejected("BAD_ACCOUNT", "000987654321 at 021000021 is not Ada Driver's"))
    # Then the row has the refusal, and none of the details
    [(error,)] = world.rows("SELECT last_error FROM drivers WHERE id = :id", id=driver_id)
    assert error == "BAD_ACCOUNT: … at … is not …'s"
