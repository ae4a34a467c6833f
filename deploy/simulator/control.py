"""Control endpoints for tests: faults, the record of all calls, outcomes by hand. Not part of Paystream's API."""

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from deploy.simulator.api import parse_limit
from deploy.simulator.balance import Balances
from deploy.simulator.document_store import DocumentStore
from deploy.simulator.documents import MODES, Mode, Payment
from deploy.simulator.errors import PaystreamError, conflict, invalid, not_found
from deploy.simulator.faults import FaultRules, NewFaultRule
from deploy.simulator.request_bodies import RequestBody, decode
from deploy.simulator.request_handler import RawResponse, RequestHandler, error_response
from deploy.simulator.settlement import Settlement, is_unsettled
from deploy.simulator.time_and_ids import new_id
from deploy.simulator.webhooks import DeliveryOptions, Webhooks

Handler = Callable[[web.Request], Awaitable[Any]]


class OutcomeRequest(RequestBody, kw_only=True):
    code: Annotated[str, Meta(pattern=r"^[A-Z0-9_]{1,64}$")] | None = None


class CustomEvent(RequestBody, kw_only=True):
    """Any webhook event, made by a test."""

    error_prefix: ClassVar[str] = "EVENT"

    type: Annotated[str, Meta(min_length=1, max_length=100)]
    data: dict[str, Any]
    forge: bool = False
    id: str | None = None
    timestamp: str | None = None
    copies: Annotated[int, Meta(ge=1, le=100)] = 1
    delay_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class BalanceAdjustment(RequestBody, kw_only=True):
    error_prefix: ClassVar[str] = "BALANCE"

    mode: Literal["test", "live"]
    amount: Annotated[int, Meta(ge=-(10**15), le=10**15)]


class ControlApi:
    """The /control endpoints: loopback only, no API key."""

    def __init__(
        self,
        handler: RequestHandler,
        store: DocumentStore,
        faults: FaultRules,
        balances: Balances,
        settlement: Settlement,
        webhooks: Webhooks,
    ) -> None:
        self._handler = handler
        self._store = store
        self._faults = faults
        self._balances = balances
        self._settlement = settlement
        self._webhooks = webhooks

    def add_to(self, app: web.Application) -> None:
        for method, path, handler in (
            ("POST", "/faults", self.add_fault),
            ("GET", "/faults", self.list_faults),
            ("DELETE", "/faults", self.clear_faults),
            ("DELETE", "/faults/{id}", self.remove_fault),
            ("GET", "/record", self.record),
            ("GET", "/stats", self.stats),
            ("POST", "/payments/{id}/{outcome:return|fail|complete}", self.settle),
            ("POST", "/balance", self.adjust_balance),
            ("POST", "/webhooks/pause", self.pause),
            ("POST", "/webhooks/resume", self.resume),
            ("POST", "/webhooks/send", self.send),
        ):
            app.router.add_route(method, "/control" + path, self._guarded(handler))

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                if not ipaddress.ip_address(request.remote or "0.0.0.0").is_loopback:
                    raise PaystreamError(403, "FORBIDDEN", "The control endpoints accept loopback connections only.")
                data = await handler(request)
                await self._store.committed()
                answer = RawResponse(200, msgspec.json.encode(data))
            except PaystreamError as error:
                answer = error_response(error)
            return web.Response(
                status=answer.status, body=answer.body, content_type="application/json", headers=answer.headers
            )

        return guarded

    async def add_fault(self, request: web.Request) -> Any:
        return self._faults.add(decode(await request.read(), NewFaultRule))

    async def list_faults(self, request: web.Request) -> Any:
        return {"faults": list(self._faults.rules.values())}

    async def clear_faults(self, request: web.Request) -> Any:
        self._faults.clear()
        return {"faults": []}

    async def remove_fault(self, request: web.Request) -> Any:
        if not self._faults.remove(request.match_info["id"]):
            raise not_found("fault rule")
        return {"id": request.match_info["id"], "deleted": True}

    async def record(self, request: web.Request) -> Any:
        """Return everything the simulator stored, oldest first."""
        await self._store.committed()
        mode, limit = request.query.get("mode"), request.query.get("limit")
        if mode is not None and mode not in MODES:
            raise invalid("mode is test or live.", field="mode")
        size = -1 if limit is None else parse_limit(limit, most=1_000_000)
        modes = MODES if mode is None else (mode, mode)
        query = "SELECT id, doc FROM payments WHERE mode IN (?, ?) AND id > ? ORDER BY id LIMIT ?"
        rows = self._store.rows(query, (*modes, request.query.get("cursor", ""), size))
        return {
            "payments": [msgspec.Raw(doc.encode()) for _, doc in rows],
            "nextCursor": rows[-1][0] if len(rows) == size else None,
            "recipients": self._documents("recipients", modes),
            "topups": self._documents("topups", modes),
            "batches": self._documents("batches", modes),
            "balances": {name: self._balances.summary(name) for name in MODES if name in modes},
            "webhooks": self._webhooks.summary(),
        }

    def _documents(self, table: str, modes: tuple[str, ...]) -> list[msgspec.Raw]:
        query = f"SELECT doc FROM {table} WHERE mode IN (?, ?) ORDER BY id"
        return [msgspec.Raw(doc.encode()) for (doc,) in self._store.rows(query, modes)]

    async def stats(self, request: web.Request) -> Any:
        await self._store.committed()
        calls: dict[str, dict[str, int]] = {}
        for (endpoint, outcome), count in sorted(self._handler.calls.items()):
            calls.setdefault(endpoint, {})[outcome] = count
        payments: dict[Mode, dict[str, int]] = {mode: {} for mode in MODES}
        query = "SELECT mode, status, count(*) FROM payments GROUP BY mode, status"
        for mode, status, count in self._store.rows(query):
            payments[mode][status] = count
        return {"calls": calls, "payments": payments, "webhooks": self._webhooks.summary()}

    async def settle(self, request: web.Request) -> Any:
        """End a payment, as the bank would."""
        outcome = decode(await request.read() or b"{}", OutcomeRequest)
        payment = self._store.get(Payment, request.match_info["id"])
        if payment is None:
            raise not_found("payment")
        what = request.match_info["outcome"]
        started = payment.started_at > 0
        allowed = started and (payment.status in ("sent", "completed") if what == "return" else is_unsettled(payment))
        if not allowed:
            message = f"Can't {what} a payment that is {payment.status}."
            raise conflict("INVALID_STATE", message, status=payment.status)
        if what == "return":
            self._settlement.return_payment(payment, outcome.code or "R02")
        elif what == "fail":
            self._settlement.fail(payment, outcome.code or "BANK_REJECTED")
        else:
            self._settlement.complete(payment)
        return payment.view()

    async def adjust_balance(self, request: web.Request) -> Any:
        change = decode(await request.read(), BalanceAdjustment)
        move = self._balances.credit if change.amount >= 0 else self._balances.debit
        move(change.mode, abs(change.amount), new_id("adj"))
        return self._balances.summary(change.mode)

    async def pause(self, request: web.Request) -> Any:
        self._webhooks.pause()
        return self._webhooks.summary()

    async def resume(self, request: web.Request) -> Any:
        self._webhooks.resume()
        return self._webhooks.summary()

    async def send(self, request: web.Request) -> Any:
        event = decode(await request.read(), CustomEvent)
        subject = new_id("sent")
        options = DeliveryOptions(
            delay_seconds=event.delay_seconds,
            copies=event.copies,
            forged=event.forge,
            at=event.timestamp,
            event_id=event.id,
            always=True,
        )
        event_id = self._webhooks.emit("test", event.type, subject, event.data, options)
        if event_id is None:
            raise conflict("NO_RECEIVER", "The simulator was started without --webhook-url.")
        return {"id": event_id}
