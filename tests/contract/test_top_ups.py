"""Top-ups by different methods, each credited once."""

from tests.support.customer import Customer
from tests.support.polling import until

TRANSACTIONS = "/api/v1/funding/transactions"


def test_an_rtp_top_up_overtakes_a_bank_transfer_and_each_is_credited_once(customer: Customer) -> None:
    # Given a bank transfer, and behind it a top-up by RTP
    topups = [
        customer.post("/api/v1/funding/topup", {"amount": 1_000, "method": method}).data
        for method in ("bank_transfer", "rtp")
    ]
    assert [topup["status"] for topup in topups] == ["pending", "pending"]
    slow, fast = (topup["transactionId"] for topup in topups)

    def credited() -> list[str]:
        credits = customer.get(TRANSACTIONS, type="credit").data["items"]
        return [item["topupId"] for item in credits if item["topupId"] in (slow, fast)]

    # When both have settled, then the one by RTP was first, and each is on the statement once
    assert until(lambda: found if len(found := credited()) == 2 else None, "both are credited") == [slow, fast]
    assert credited() == [slow, fast]
