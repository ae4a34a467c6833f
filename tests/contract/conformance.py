"""Compare responses with the samples of the API reference, and record which samples are covered.

samples.json contains the samples to the letter, in the reference's order. `determined` lists the fields whose value the
request fixes. `ours` explains responses that the reference does not show. The reference has its chapter on batches
twice; samples of the first copy are named "… (first)".
"""

import json
import os
import uuid
from collections import defaultdict
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from tests.contract.shape import TIME, additions, at_path, differences
from tests.support.http_client import Answer

SAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "samples.json").read_text(encoding="utf-8"))
CONFORMED: defaultdict[str, set[str]] = defaultdict(set)
"""Each sample → the node ids of this run's tests that have confirmed it."""

# Fields that we return in addition to a sample: from another sample, from the request, or our own. Each is deliberate.
ADDED_EVERYWHERE = {"meta", "hasNextPage", "nextCursor"}
ADDED_TO_DRIVERS = {"email", "phone", "kycStatus", "totalPaid", "pendingPayouts", "createdAt", "bankAccountLast4"}
ADDED_TO_PAYOUTS = {
    "loadId", "driverName", "completedAt", "description", "requestedBy", "attempt", "canceledAt", "failure", "batchId",
    "warnings",
}  # fmt: skip
ADDED_TO_TOPUPS = {"method", "description"}
ADDED_TO_BATCHES = {
    "urgency", "scheduledFor", "releasedAt", "processedAt", "completedAt", "canceledAt", "failure", "countsByStatus",
    "amountsByStatus", "payoutsTruncated", "warnings", "totalFees", "netAmount",
}  # fmt: skip
ADDED_TO_RESULTS = {"index", "code", "details"}
ADDED_TO_KEYS = {
    "name", "prefix", "scopes", "created_by", "approval_status", "approval_reason", "approved_by", "approved_at",
    "rejected_at", "rejection_reason", "created_at", "expires_at", "last_used_at", "revoked_at", "is_usable", "total",
    "has_next_page", "next_cursor",
}  # fmt: skip


def conforms(name: str, answer: Answer, added: AbstractSet[str] = frozenset()) -> Any:
    """Assert that a response matches a sample, within the envelope; return its data (of API keys, the whole body)."""
    sample = SAMPLES[name]
    assert answer.status == sample.get("status", 200), answer
    different = differences(answer.body, sample["response"])
    assert different == [], f"{name}: {different}"
    for path in sample["determined"]:
        value, shown = at_path(answer.body, path), at_path(sample["response"], path)
        assert value == shown, f"{name}: {path} is {value!r}, the sample shows {shown!r}"
    undeclared = additions(answer.body, sample["response"]) - added - ADDED_EVERYWHERE
    assert not undeclared, f"{name}: undeclared fields {undeclared}"
    assert uuid.UUID(answer.body["meta"]["requestId"])
    assert TIME.match(answer.body["meta"]["timestamp"]), answer.body["meta"]
    CONFORMED[name].add(os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0])
    return answer.body.get("data", answer.body)


def with_only(answer: Answer, listed_at: str, item_id: str) -> Answer:
    """Reduce a list in a response to one item: the others belong to other tests."""
    body = json.loads(json.dumps(answer.body))
    items = at_path(body, listed_at)
    items[:] = [item for item in items if item["id"] == item_id]
    assert len(items) == 1, f"{item_id} is not among {[item['id'] for item in at_path(answer.body, listed_at)]}"
    return Answer(answer.status, answer.headers, body)


def endpoint(name: str) -> str:
    """The heading of a sample, for example `GET /api/v1/drivers`."""
    return f"{SAMPLES[name]['method']} {SAMPLES[name]['path'].partition('?')[0]}"
