"""Each heading of the API reference has a sample, and each sample is compared in a test.

This reads the tests without running them. The table at the end of a run lists the samples that the run has confirmed.
"""

import ast
from collections import Counter
from pathlib import Path

from tests.contract.conformance import SAMPLES, endpoint

# The headings of the reference, in its order. It has the chapter on batches twice, and POST /api/v1/payouts a second
# time with a sandbox scenario.
HEADINGS = """
    GET /health
    GET /api/v1/drivers
    GET /api/v1/drivers/:id
    POST /api/v1/drivers
    PUT /api/v1/drivers/:id
    DELETE /api/v1/drivers/:id
    GET /api/v1/drivers/:id/payouts
    POST /api/v1/payouts
    GET /api/v1/payouts
    GET /api/v1/payouts/:id
    POST /api/v1/payouts/:id/cancel
    POST /api/v1/payouts/:id/retry
    POST /api/v1/payouts/instant
    GET /api/v1/payouts/instant/fee
    POST /api/v1/batches
    GET /api/v1/batches
    GET /api/v1/batches/:id
    POST /api/v1/batches/:id/release
    POST /api/v1/batches/:id/run
    POST /api/v1/batches
    GET /api/v1/batches
    GET /api/v1/batches/:id
    POST /api/v1/batches/:id/release
    POST /api/v1/batches/:id/run
    POST /api/v1/drivers/bulk
    POST /api/v1/payouts/bulk
    POST /api/v1/payouts/bulk/cancel
    POST /api/v1/payouts/bulk/retry
    GET /api/v1/scheduled-payouts
    GET /api/v1/scheduled-payouts/stats
    GET /api/v1/funding/transactions
    GET /api/v1/funding/projection
    POST /api/v1/funding/topup
    GET /api/v1/balance
    POST /api/v1/webhooks/paystream
    GET /api/v1/webhooks/logs
    GET /api/v1/developer/keys
    POST /api/v1/developer/keys
    GET /api/v1/developer/keys/:id
    DELETE /api/v1/developer/keys/:id
    POST /api/v1/developer/keys/:id/regenerate
    GET /api/v1/developer/scopes
    GET /api/v1/admin/api-keys
    GET /api/v1/admin/api-keys/pending
    GET /api/v1/admin/api-keys/:id
    POST /api/v1/admin/api-keys/:id/approve
    POST /api/v1/admin/api-keys/:id/reject
    DELETE /api/v1/admin/api-keys/:id
    POST /api/v1/sandbox/reset
    GET /api/v1/sandbox/state
    POST /api/v1/sandbox/seed
    POST /api/v1/payouts
"""


def test_each_heading_of_the_reference_has_its_samples() -> None:
    headings = Counter(line.strip() for line in HEADINGS.strip().splitlines())
    samples = Counter(endpoint(name) for name in SAMPLES)
    assert headings - samples == Counter(), "without a sample"
    # One heading has two samples: a sandbox key and a production key
    assert samples - headings == Counter({"POST /api/v1/developer/keys": 1}), "of no heading"


def test_each_sample_is_compared_in_a_test() -> None:
    compared = {
        name
        for path in Path(__file__).parent.glob("test_*.py")
        for function in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_")
        for name in _compared_in(function)
    }
    assert SAMPLES.keys() - compared == set(), "in no test"
    assert compared - SAMPLES.keys() == set(), "no such sample"


def _compared_in(function: ast.FunctionDef) -> list[str]:
    """The names in calls of `conforms("name", …)`."""
    return [
        str(call.args[0].value)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "conforms"
        if isinstance(call.args[0], ast.Constant)
    ]
