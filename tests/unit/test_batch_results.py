"""A batch's results are encoded off the event loop, one file at a time: 10,000 rows delay no other request."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.app_state import CREDENTIAL, SERVICES
from gateway.handlers import batch_results
from shared.platform.ids import BATCH, new_id, public_id
from shared.platform.pagination import Page


def test_results_are_encoded_off_the_event_loop_one_file_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[bool, bool]] = []

    async def run() -> web.StreamResponse:
        loop_thread, export = threading.get_ident(), asyncio.Semaphore(1)

        def csv_body(columns: Any, rows: Any) -> bytes:
            calls.append((threading.get_ident() == loop_thread, export.locked()))
            return b"encoded"

        async def read(work: Any) -> Any:
            return await asyncio.to_thread(work, None)

        monkeypatch.setattr(batch_results, "csv_body", csv_body)
        monkeypatch.setattr(batch_results.queries, "load_batch_payouts", lambda *_, **__: Page([], 0, None))
        application = web.Application()
        application[SERVICES] = SimpleNamespace(export=export, read=read)  # type: ignore[misc, assignment]
        batch_id = public_id(BATCH, new_id())
        request = make_mocked_request("GET", "/?format=csv", app=application, match_info={"id": batch_id})
        request[CREDENTIAL] = SimpleNamespace(wallet_id=new_id())  # type: ignore[assignment]
        return await batch_results.list_batch_payouts(request)

    response = asyncio.run(run())
    assert (response.status, calls) == (200, [(False, True)])
