"""A batch's results are a file that is made off the event loop, one at a time: 10,000 rows stop nobody else."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.app_state import CREDENTIAL, SERVICES
from gateway.handlers import batches
from shared.platform.ids import BATCH, new_id, public_id
from shared.platform.pagination import Page


def test_results_are_made_off_the_event_loop_one_file_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a gateway that notes where a file is made
    places: list[tuple[bool, bool]] = []

    async def run() -> web.StreamResponse:
        loop_thread, exports = threading.get_ident(), asyncio.Semaphore(1)

        def csv_body(columns: Any, rows: Any) -> bytes:
            places.append((threading.get_ident() == loop_thread, exports.locked()))
            return b"made"

        async def read(work: Any) -> Any:
            return await asyncio.to_thread(work, None)

        monkeypatch.setattr(batches, "csv_body", csv_body)
        monkeypatch.setattr(batches.queries, "load_batch_payouts", lambda *_, **__: Page([], 0, None))
        application = web.Application()
        application[SERVICES] = SimpleNamespace(exports=exports, read=read)  # type: ignore[misc, assignment]
        batch_id = public_id(BATCH, new_id())
        request = make_mocked_request("GET", "/?format=csv", app=application, match_info={"id": batch_id})
        request[CREDENTIAL] = SimpleNamespace(wallet_id=new_id())  # type: ignore[assignment]
        # When a batch's results are asked for
        return await batches.list_batch_payouts(request)

    answer = asyncio.run(run())
    # Then they were made on another thread, while no other file was
    assert (answer.status, places) == (200, [(False, True)])
