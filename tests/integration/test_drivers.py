"""Drivers become active only by the provider's verification; customers change and delete them."""

import uuid

import pytest

from shared.drivers import recipients
from shared.drivers.bank_details import BankAccount, DriverDetails, encrypt_details
from shared.drivers.delete import soft_delete_driver
from shared.drivers.queries import load_driver
from shared.drivers.recipients import LeasedDriver
from shared.drivers.register import NewDriver, register_drivers
from shared.drivers.rows import DriverRow
from shared.drivers.update import DriverChanges, apply_driver_changes
from shared.payouts.lifecycle import Move, transition_payouts
from shared.platform.errors import Conflict, NotFound
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown
from shared.schema.payouts import PayoutStatus as S
from tests.support.world import GRACE, World

PEPPER = "a pepper for tests"


def register(world: World, *ovn_driver_ids: str) -> list[DriverRow | Conflict]:
    """Register drivers and commit."""
    new = [NewDriver(one, "John Smith", "john@drivers.example", "+15551234567") for one in ovn_driver_ids]
    with world.engine.begin() as connection:
        return register_drivers(connection, world.wallet_id, new, world.clock.now(), grace=GRACE)


def new_driver(world: World) -> uuid.UUID:
    """Register one driver."""
    [row] = register(world, f"OVN-{uuid.uuid4().hex}")
    assert isinstance(row, DriverRow)
    return row.id


def record_outcome(world: World, driver_id: uuid.UUID, outcome: CallOutcome) -> LeasedDriver:
    """Claim the driver and record this outcome of the next call."""
    with world.engine.begin() as connection:
        [leased] = recipients.claim_drivers(connection, [driver_id], lease_seconds=60)
    with world.engine.begin() as connection:
        recipients.record_recipient_outcome(
            connection, leased, outcome, world.clock.now(), pepper=PEPPER, first_seconds=0.3
        )
    return leased


def state(world: World, driver_id: uuid.UUID) -> tuple[object, ...]:
    """Return status, KYC status, and whether a call is due."""
    [row] = world.rows(
        "SELECT status, kyc_status, next_action_at IS NOT NULL FROM drivers WHERE id = :id", id=driver_id
    )
    return row


def recipient() -> Accepted:
    """Return the outcome of a created recipient."""
    return Accepted({"id": f"rec_{uuid.uuid4().hex}"})


def methods(*statuses: str) -> Accepted:
    """Return the outcome of a lookup of the payment methods."""
    return Accepted([{"id": f"pm_{number}", "status": status} for number, status in enumerate(statuses)])


def test_a_driver_becomes_active_once_the_provider_has_verified_them(world: World) -> None:
    """Polled until verified; then no call is due."""
    driver_id = new_driver(world)
    assert state(world, driver_id) == ("invited", "pending", True)
    leased = record_outcome(world, driver_id, recipient())
    assert leased.call(PEPPER).path == "/recipients"
    assert state(world, driver_id) == ("pending", "pending", True)
    record_outcome(world, driver_id, methods("pending"))
    assert state(world, driver_id) == ("pending", "pending", True)
    record_outcome(world, driver_id, methods("pending", "verified"))
    assert state(world, driver_id) == ("active", "verified", False)


def test_a_rejected_verification_is_final(world: World) -> None:
    driver_id = new_driver(world)
    record_outcome(world, driver_id, recipient())
    record_outcome(world, driver_id, methods("rejected"))
    assert state(world, driver_id) == ("pending", "rejected", False)


@pytest.mark.parametrize("outcome", [Unknown("no response"), Throttled(3.0), Accepted("nonsense")])
def test_an_unclear_outcome_is_retried_with_the_same_key(world: World, outcome: CallOutcome) -> None:
    """It must not create a second recipient."""
    driver_id = new_driver(world)
    first = record_outcome(world, driver_id, outcome)
    assert state(world, driver_id) == ("invited", "pending", True)
    again = record_outcome(world, driver_id, recipient())
    assert first.call(PEPPER).idempotency_key == again.call(PEPPER).idempotency_key is not None


def test_a_rejected_registration_is_final_and_a_rejected_lookup_is_retried(world: World) -> None:
    rejected, unclear = new_driver(world), new_driver(world)
    record_outcome(world, rejected, Rejected("VALIDATION_ERROR", "bad e-mail"))
    assert state(world, rejected) == ("invited", "pending", False)
    with world.engine.connect() as connection:
        row = load_driver(connection, world.wallet_id, rejected)
    assert row is not None
    assert row.last_error == "VALIDATION_ERROR: bad e-mail"
    record_outcome(world, unclear, recipient())
    record_outcome(world, unclear, Rejected("NOT_FOUND", "not yet"))
    assert state(world, unclear) == ("pending", "pending", True)


def test_an_ovn_driver_id_is_unique_in_a_wallet(world: World) -> None:
    """A duplicate is rejected with the existing driver's id, in the same request or later."""
    first, second, other = register(world, "OVN-1", "OVN-1", "OVN-2")
    assert isinstance(first, DriverRow)
    assert isinstance(other, DriverRow)
    assert isinstance(second, Conflict)
    assert second.code == "DRIVER_EXISTS"
    [again] = register(world, "OVN-1")
    assert isinstance(again, Conflict)
    assert again.details["driverId"] == second.details["driverId"]
    [elsewhere] = register(World(world.engine), "OVN-1")
    assert isinstance(elsewhere, DriverRow)


def test_a_driver_with_open_payouts_is_not_deleted(world: World) -> None:
    """After the payouts have ended the driver is deleted, and the payouts stay."""
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


def test_a_reactivated_driver_gets_the_status_of_the_verification(world: World) -> None:
    """Active only if verified. Fields that are not given stay; another wallet's driver is not found."""
    verified, unverified = world.driver(), new_driver(world)

    def change(driver_id: uuid.UUID, **changes: object) -> DriverRow:
        with world.engine.begin() as connection:
            requested = DriverChanges(**changes)  # type: ignore[arg-type]
            return apply_driver_changes(
                connection, world.wallet_id, driver_id, requested, world.clock.now(), grace=GRACE
            )

    assert change(verified, active=False, name="Jane Doe").status == "inactive"
    again = change(verified, active=True)
    assert (again.status, again.name, again.email) == ("active", "Jane Doe", "dora@drivers.example")
    change(unverified, active=False)
    assert change(unverified, active=True).status == "invited"
    with pytest.raises(NotFound):
        change(World(world.engine).driver(), name="x")


def test_a_driver_shows_total_paid_and_pending_payouts(world: World) -> None:
    """A returned payout does not count as paid."""
    [payout_id], _ = world.leased_submission()
    [(driver_id,)] = world.rows("SELECT driver_id FROM payouts WHERE id = :id", id=payout_id)

    def totals() -> tuple[int, int]:
        with world.engine.connect() as connection:
            row = load_driver(connection, world.wallet_id, driver_id)  # type: ignore[arg-type]
        assert row is not None
        return row.total_paid_cents, row.pending_payouts

    assert totals() == (0, 1)
    for source, target, expected in [(S.PROCESSING, S.COMPLETED, (44_750, 0)), (S.COMPLETED, S.RETURNED, (0, 0))]:
        with world.engine.begin() as connection:
            transition_payouts(connection, [Move(payout_id, "test")], source, target, world.clock.now())
        assert totals() == expected


def set_account(world: World, driver_id: uuid.UUID, number: str) -> None:
    """Set a bank account, as the customer does."""
    sealed = encrypt_details(DriverDetails(BankAccount(number, "021000021")), PEPPER)
    with world.engine.begin() as connection:
        changes = DriverChanges(sealed_details=sealed)
        apply_driver_changes(connection, world.wallet_id, driver_id, changes, world.clock.now(), grace=GRACE)


def account_state(world: World, driver_id: uuid.UUID) -> tuple[object, ...]:
    """Return the last four digits, and whether encrypted details are stored."""
    [row] = world.rows(
        "SELECT bank_account_last4, sealed_details IS NOT NULL FROM drivers WHERE id = :id", id=driver_id
    )
    return row


def test_a_bank_account_is_sent_to_the_provider_and_discarded(world: World) -> None:
    """It waits for the recipient; the driver can be paid again once it is verified."""
    driver_id = new_driver(world)
    set_account(world, driver_id, "000123456789")
    assert record_outcome(world, driver_id, recipient()).call(PEPPER).body.get("bankAccount") is None
    assert account_state(world, driver_id) == (None, True)
    sent = record_outcome(world, driver_id, Accepted({"id": "pm_1", "status": "pending"})).call(PEPPER)
    assert sent.body["bankAccount"]["accountNumber"] == "000123456789"
    assert sent.body["bankAccount"]["accountHolderName"] == "John Smith"
    assert account_state(world, driver_id) == ("6789", False)
    assert state(world, driver_id) == ("pending", "pending", True)
    record_outcome(world, driver_id, methods("verified"))
    assert state(world, driver_id) == ("active", "verified", False)
    row = world.rows("SELECT CAST(drivers AS text) FROM drivers WHERE id = :id", id=driver_id)
    assert "000123456789" not in str(row)


def test_an_unclear_outcome_sends_the_same_account_with_the_same_key(world: World) -> None:
    """An account that replaced it meanwhile is sent next, with another key."""
    driver_id = new_driver(world)
    record_outcome(world, driver_id, recipient())
    set_account(world, driver_id, "000111111111")
    first = record_outcome(world, driver_id, Unknown("no response")).call(PEPPER)
    assert account_state(world, driver_id) == (None, True)
    with world.engine.begin() as connection:
        [leased] = recipients.claim_drivers(connection, [driver_id], lease_seconds=60)
    assert leased.call(PEPPER) == first
    set_account(world, driver_id, "000222222222")
    with world.engine.begin() as connection:
        answer = Accepted({"id": "pm_1", "status": "pending"})
        recipients.record_recipient_outcome(
            connection, leased, answer, world.clock.now(), pepper=PEPPER, first_seconds=0.3
        )
    assert account_state(world, driver_id) == ("1111", True)
    second = record_outcome(world, driver_id, Accepted({"id": "pm_2", "status": "pending"})).call(PEPPER)
    assert second.idempotency_key != first.idempotency_key
    assert account_state(world, driver_id) == ("2222", False)


def test_a_rejected_account_is_discarded_and_its_error_shown(world: World) -> None:
    """The driver is paid as before once the provider has confirmed the earlier account."""
    driver_id = new_driver(world)
    record_outcome(world, driver_id, recipient())
    record_outcome(world, driver_id, methods("verified"))
    set_account(world, driver_id, "000123456789")
    assert state(world, driver_id) == ("pending", "pending", True)
    record_outcome(world, driver_id, Rejected("VALIDATION_ERROR", "no such routing number"))
    assert account_state(world, driver_id) == (None, False)
    assert state(world, driver_id) == ("pending", "pending", True)
    record_outcome(world, driver_id, methods("verified"))
    assert state(world, driver_id) == ("active", "verified", False)
    with world.engine.connect() as connection:
        row = load_driver(connection, world.wallet_id, driver_id)
    assert row is not None
    assert row.last_error == "VALIDATION_ERROR: no such routing number"


def test_details_are_masked_in_the_error_of_a_rejection(world: World) -> None:
    """The provider's message is stored, and shown to the customer."""
    # Given a driver whose account is about to be sent
    driver_id = world.driver()
    account = BankAccount("000987654321", "021000021", account_holder_name="Ada Driver")
    sealed = encrypt_details(DriverDetails(account), PEPPER)
    to_send = "UPDATE drivers SET sealed_details = :sealed, next_action_at = now() WHERE id = :id"
    world.execute(to_send, id=driver_id, sealed=sealed)
    # When the provider rejects it and repeats the details
    record_outcome(world, driver_id, Rejected("BAD_ACCOUNT", "000987654321 at 021000021 is not Ada Driver's"))
    # Then the row has the error without the details
    [(error,)] = world.rows("SELECT last_error FROM drivers WHERE id = :id", id=driver_id)
    assert error == "BAD_ACCOUNT: … at … is not …'s"
