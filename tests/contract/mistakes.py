"""Client errors, each with its status and code.

The API reference gives the statuses and one code, VALIDATION_ERROR; the other codes are pinned here because clients
match on them. `$driver` and its like in a path or body are replaced by the ids of the running system.
"""

from dataclasses import dataclass
from typing import Any

DRIVERS, PAYOUTS, INSTANT = "/api/v1/drivers", "/api/v1/payouts", "/api/v1/payouts/instant"
FEE, TOPUP, BALANCE = "/api/v1/payouts/instant/fee", "/api/v1/funding/topup", "/api/v1/balance"


@dataclass(frozen=True)
class Mistake:
    name: str
    method: str
    path: str
    status: int
    code: str
    field: str | None = None  # that the message must name
    body: Any = None  # bytes are sent as they are
    headers: tuple[tuple[str, str], ...] = (("Authorization", "Bearer $sandbox_key"),)


def _invalid(path: str, name: str, field: str | None, body: Any, code: str = "VALIDATION_ERROR") -> Mistake:
    return Mistake(f"{path.removeprefix('/api/v1/')}: {name}", "POST", path, 400, code, field, body)


def _query(path: str, query: str, field: str) -> Mistake:
    return Mistake(f"{path.removeprefix('/api/v1/')}?{query}", "GET", f"{path}?{query}", 400, "VALIDATION_ERROR", field)


def _unauthenticated(name: str, method: str, path: str, *authorization: str) -> Mistake:
    headers = tuple(("Authorization", value) for value in authorization)
    return Mistake(f"{name}: {method} {path}", method, path, 401, "UNAUTHORIZED", "Authorization", headers=headers)


def _wrong_amounts(path: str, rest: dict[str, Any]) -> list[Mistake]:
    wrong = {
        "zero": 0,
        "negative": -45_000,
        "fractional": 450.5,
        "a text": "45000",
        "null": None,
        "true": True,
        "an object": {"cents": 45_000},
        "larger than any rail takes": 10**22,
    }
    mistakes = [
        _invalid(path, f"amount is {name}", "amount", rest | {"amount": value}) for name, value in wrong.items()
    ]
    return [
        *mistakes,
        _invalid(path, "amount is missing", "amount", rest),
        _invalid(path, "amount has 31 digits", "amount", rest | {"amount": 10**30}),
    ]


def _wrong_bodies(path: str) -> list[Mistake]:
    return [
        _invalid(path, "no body", None, b"", "INVALID_JSON"),
        _invalid(path, "half a body", None, b'{"amount": 45000, ', "INVALID_JSON"),
        _invalid(path, "not UTF-8", None, b'{"name": "\xe9"}', "INVALID_JSON"),
        _invalid(path, "NaN", None, b'{"amount": NaN}', "INVALID_JSON"),
        _invalid(path, "a field twice", "amount", b'{"amount": 1, "amount": 45000}', "INVALID_JSON"),
        _invalid(path, "nested without end", None, b'{"a":' * 50_000, "INVALID_JSON"),
        _invalid(path, "a list", None, []),
        _invalid(path, "null", None, b"null"),
        Mistake(f"{path}: oversized", "POST", path, 413, "PAYLOAD_TOO_LARGE", None, {"description": "x" * 3_000_000}),
    ]


_DRIVER = {"ovnDriverId": "OVN-MISTAKEN", "name": "Mia Stake", "email": "mia@example.com", "phone": "+15551234567"}
_PAYOUT = {"driverId": "$driver", "amount": 45_000}


def _without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in body.items() if other != name}


MISTAKES: list[Mistake] = [
    # authentication and authorization
    *[
        _unauthenticated("no key", method, path)
        for method, path in (
            ("GET", DRIVERS),
            ("POST", DRIVERS),
            ("GET", f"{DRIVERS}/$driver"),
            ("GET", PAYOUTS),
            ("POST", PAYOUTS),
            ("GET", f"{PAYOUTS}/$payout"),
            ("POST", INSTANT),
            ("GET", f"{FEE}?amount=50000"),
            ("GET", BALANCE),
            ("POST", TOPUP),
        )
    ],
    _unauthenticated("no word Bearer", "GET", BALANCE, "$sandbox_key"),
    _unauthenticated("Basic", "GET", BALANCE, "Basic $sandbox_key"),
    _unauthenticated("nothing after Bearer", "GET", BALANCE, "Bearer "),
    _unauthenticated("a made-up key", "GET", BALANCE, "Bearer ovnp_sbox_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    _unauthenticated("one letter more", "GET", BALANCE, "Bearer $sandbox_keyx"),
    _unauthenticated("only the prefix", "GET", BALANCE, "Bearer ovnp_sbox_"),
    # paths and methods
    Mistake("unknown path", "GET", "/api/v1/payout", 404, "NOT_FOUND"),
    Mistake("unknown path outside the API", "GET", "/payouts", 404, "NOT_FOUND"),
    Mistake("wrong method: DELETE payouts", "DELETE", PAYOUTS, 405, "METHOD_NOT_ALLOWED"),
    Mistake("wrong method: PUT balance", "PUT", BALANCE, 405, "METHOD_NOT_ALLOWED", body={}),
    Mistake("wrong method: GET topup", "GET", TOPUP, 405, "METHOD_NOT_ALLOWED"),
    # bodies
    *[mistake for path in (DRIVERS, PAYOUTS, INSTANT, TOPUP) for mistake in _wrong_bodies(path)],
    *_wrong_amounts(PAYOUTS, {"driverId": "$driver"}),
    *_wrong_amounts(INSTANT, {"driverId": "$driver"}),
    *_wrong_amounts(TOPUP, {"method": "bank_transfer"}),
    *[_invalid(DRIVERS, f"no {name}", name, _without(_DRIVER, name)) for name in ("ovnDriverId", "name", "email")],
    *[_invalid(DRIVERS, f"{name} is a number", name, _DRIVER | {name: 7}) for name in _DRIVER],
    _invalid(DRIVERS, "email is none", "email", _DRIVER | {"email": "mia at example"}),
    _invalid(DRIVERS, "name is empty", "name", _DRIVER | {"name": ""}),
    _invalid(DRIVERS, "unknown field", "ssn", _DRIVER | {"ssn": "123-45-6789"}),
    _invalid(DRIVERS, "NUL in a text", "name", _DRIVER | {"name": "Mia\0Stake"}, "INVALID_JSON"),
    *[_invalid(path, "no driverId", "driverId", {"amount": 45_000}) for path in (PAYOUTS, INSTANT)],
    *[_invalid(path, "driverId is a number", "driverId", _PAYOUT | {"driverId": 7}) for path in (PAYOUTS, INSTANT)],
    *[_invalid(path, "unknown field", "currency", _PAYOUT | {"currency": "EUR"}) for path in (PAYOUTS, INSTANT)],
    _invalid(PAYOUTS, "unknown urgency", "urgency", _PAYOUT | {"urgency": "yesterday"}),
    _invalid(PAYOUTS, "description is a list", "description", _PAYOUT | {"description": ["Load"]}),
    _invalid(PAYOUTS, "NUL in a text", "description", _PAYOUT | {"description": "Load\0"}, "INVALID_JSON"),
    _invalid(INSTANT, "requestedBy is a number", "requestedBy", _PAYOUT | {"requestedBy": 789}),
    _invalid(TOPUP, "unknown method", "method", {"amount": 500_000, "method": "cash"}),
    _invalid(TOPUP, "unknown field", "currency", {"amount": 500_000, "currency": "EUR"}),
    # amounts
    _invalid(PAYOUTS, "over the standard rail's $1,000,000", "amount", _PAYOUT | {"amount": 100_000_001}),
    _invalid(
        PAYOUTS, "over the instant rail's $10,000", "amount", _PAYOUT | {"amount": 1_000_001, "urgency": "instant"}
    ),
    _invalid(INSTANT, "over the instant rail's $10,000", "amount", _PAYOUT | {"amount": 1_000_001}),
    _invalid(PAYOUTS, "the fee takes it all", "amount", _PAYOUT | {"amount": 250}),
    _invalid(PAYOUTS, "less than the fee", "amount", _PAYOUT | {"amount": 1}),
    _invalid(PAYOUTS, "the same-day fee takes it all", "amount", _PAYOUT | {"amount": 500, "urgency": "same_day"}),
    # drivers
    *[
        Mistake(f"{name}: {path}", "POST", path, 404, "DRIVER_NOT_FOUND", "driver", _PAYOUT | {"driverId": driver})
        for path in (PAYOUTS, INSTANT)
        for name, driver in (("unknown driver", "drv_abc123"), ("other wallet's driver", "$production_driver"))
    ],
    *[
        Mistake(f"{name}: {path}", "POST", path, 422, code, "driver", _PAYOUT | {"driverId": driver})
        for path in (PAYOUTS, INSTANT)
        for name, driver, code in (
            ("driver not verified", "$unverified", "KYC_PENDING"),
            ("driver rejected", "$rejected", "KYC_REJECTED"),
        )
    ],
    Mistake(
        "same ovnDriverId", "POST", DRIVERS, 409, "DRIVER_EXISTS", "ovnDriverId", _DRIVER | {"ovnDriverId": "$ovn_id"}
    ),
    # ids
    Mistake("unknown driver", "GET", f"{DRIVERS}/drv_abc123", 404, "DRIVER_NOT_FOUND"),
    Mistake("other wallet's driver", "GET", f"{DRIVERS}/$production_driver", 404, "DRIVER_NOT_FOUND"),
    Mistake("unknown payout", "GET", f"{PAYOUTS}/pay_xyz", 404, "PAYOUT_NOT_FOUND"),
    Mistake("other wallet's payout", "GET", f"{PAYOUTS}/$production_payout", 404, "PAYOUT_NOT_FOUND"),
    *[
        _query(path, f"{field}={value}", field)
        for path in (DRIVERS, PAYOUTS)
        for field, value in (
            ("page", "0"),
            ("page", "-1"),
            ("page", "two"),
            ("page", "1.5"),
            ("pageSize", "0"),
            ("pageSize", "101"),
            ("pageSize", "all"),
            ("status", "lost"),
        )
    ],
    *[_query(FEE, f"amount={value}", "amount") for value in ("0", "-1", "450.5", "much", "", "1000001")],
    Mistake("fee of nothing", "GET", FEE, 400, "VALIDATION_ERROR", "amount"),
]
