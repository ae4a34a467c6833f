"""The simulator as an aiohttp server: `Simulator` with `start()` and `stop()`."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from deploy.simulator.api import PaystreamApi
from deploy.simulator.balance import Balances
from deploy.simulator.batches import Batches
from deploy.simulator.control import ControlApi
from deploy.simulator.document_store import DocumentStore
from deploy.simulator.errors import PaystreamError
from deploy.simulator.faults import FaultRules
from deploy.simulator.options import Options
from deploy.simulator.payments import Payments
from deploy.simulator.recipients import Recipients
from deploy.simulator.request_handler import RequestHandler, Route, error_response
from deploy.simulator.settlement import Settlement
from deploy.simulator.timer import Timer
from deploy.simulator.webhooks import Webhooks

BODY_BYTES_MAX = 4 * 1024 * 1024
CODE_BY_STATUS = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "PAYLOAD_TOO_LARGE"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Simulator:
    """Paystream on one port; `start()` returns its URL."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._store = store = DocumentStore(options.record)
        self._timer = timer = Timer()
        self._faults = FaultRules(store)
        self._webhooks = Webhooks(options, store, timer)
        self._balances = Balances(options, store, timer)
        self._recipients = Recipients(options, store, timer)
        self._settlement = Settlement(options, store, timer, self._balances, self._webhooks)
        payments = Payments(options, store, self._balances, self._recipients, self._settlement, self._faults)
        batches = Batches(store, self._balances, self._recipients, self._settlement, payments)
        self._handler = RequestHandler(options, store, self._faults)
        self._api = PaystreamApi(store, self._balances, self._recipients, payments, batches)
        self.app = self._app()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        self._faults.start()
        self._balances.start()
        self._recipients.start()
        self._webhooks.start()
        self._settlement.start()
        await self._store.committed()
        self._runner = web.AppRunner(
            self.app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=75.0, handle_signals=False
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._options.host, self._options.port, backlog=1024)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self) -> None:
        self._handler.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
        self._timer.stop()
        await self._webhooks.stop()
        await self._store.close()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[_wrap_errors], client_max_size=BODY_BYTES_MAX)
        app.router.add_get("/health", _health)
        for route in self._api.routes():
            app.router.add_route(route.method, "/api/v1" + route.path, self._route_handler(route))
        if self._options.control:
            ControlApi(
                self._handler, self._store, self._faults, self._balances, self._settlement, self._webhooks
            ).add_to(app)
        return app

    def _route_handler(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handler.handle(route, request)

        return handle


async def _health(request: web.Request) -> web.Response:
    return web.json_response({"status": "healthy"})


@web.middleware
async def _wrap_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give aiohttp's own errors (unknown path, body too long) the API's format."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        code = CODE_BY_STATUS.get(error.status, "BAD_REQUEST")
        answer = error_response(PaystreamError(error.status, code, error.reason))
        return web.Response(status=answer.status, body=answer.body, content_type="application/json")
