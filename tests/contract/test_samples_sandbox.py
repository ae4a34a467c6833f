"""The samples of the sandbox, in a sandbox of their own: one of them resets it."""

from tests.contract.conformance import SAMPLES, conforms
from tests.contract.customers import with_scenario
from tests.support.customer import Customer
from tests.support.organization import Organization


def test_reset_sandbox_then_seed_it(organization: Organization) -> None:
    sandbox = organization.sandbox()
    conforms("reset sandbox", sandbox.post(SAMPLES["reset sandbox"]["path"], {}))
    conforms("seed sandbox", sandbox.post(SAMPLES["seed sandbox"]["path"], {}))


def test_sandbox_state(organization: Organization) -> None:
    # Given a sandbox with a driver
    sandbox = organization.sandbox()
    driver_id = sandbox.register()["id"]
    # When its state is read, then it contains the driver. The sample's dots stand for drivers and payouts as listed.
    data = conforms("sandbox state", sandbox.get(SAMPLES["sandbox state"]["path"]), {"driverCount", "payoutCount"})
    assert [driver["id"] for driver in data["drivers"]] == [driver_id]
    assert data["payouts"] == []


def test_sandbox_scenario(carrier: Customer, three_drivers: list[str]) -> None:
    sample = SAMPLES["sandbox scenario"]
    (scenario,) = sample["headers"].values()
    answer = with_scenario(carrier, scenario).post(sample["path"], sample["body"] | {"driverId": three_drivers[0]})
    # The reference describes this error in words only
    conforms("sandbox scenario", answer)
