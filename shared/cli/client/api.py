"""The calls of the public API that the commands make."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from shared.cli.client.connection import Connection
from shared.cli.client.errors import ApiRejected
from shared.cli.client.transport import ApiResponse, Transport

PAGE_SIZE: Final = 100
BATCH_PAGE_SIZE: Final = 1_000

Json = dict[str, Any]


class ApiClient:
    """The public API with one key."""

    def __init__(
        self,
        connection: Connection,
        info: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.connection = connection
        self.sleep = sleep
        self._transport = Transport(connection, info, sleep)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def get_balance(self) -> Json:
        """Return the wallet's balance."""
        return await self._get("/balance")

    async def iterate_items(
        self, path: str, filters: Mapping[str, str] | None = None, *, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[Json]:
        """Yield every item of a list, newest first."""
        query: dict[str, str | int] = {"pageSize": page_size, **(filters or {})}
        while True:
            page = await self._get(path, query)
            for item in page["items"]:
                yield item
            if not page.get("nextCursor"):
                return
            query["cursor"] = page["nextCursor"]

    def iterate_batch_payouts(self, batch_id: str) -> AsyncIterator[Json]:
        """Yield every payout of a batch."""
        return self.iterate_items(f"/batches/{_path_segment(batch_id)}/payouts", page_size=BATCH_PAGE_SIZE)

    async def get_batch_by_key(self, key: str) -> Json | None:
        """Return the batch that this Idempotency-Key created in the last 48 hours."""
        page = await self._get("/payouts", {"idempotencyKey": key, "pageSize": 1})
        batch_ids = [item["batchId"] for item in page["items"] if item["batchId"]]
        return await self.get_batch(batch_ids[0]) if batch_ids else None

    async def get_batch(self, batch_id: str) -> Json:
        """Return a batch without its payouts."""
        batch = await self._get(f"/batches/{_path_segment(batch_id)}")
        return {name: value for name, value in batch.items() if name not in ("payouts", "payoutsTruncated")}

    async def quote_batch(self, body: Json) -> Json:
        """Return the cost of a batch."""
        return await self._post("/batches/quote", body)

    async def create_batch(self, body: Json, key: str) -> ApiResponse:
        """Create a batch, once for this key."""
        return await self._transport.request("POST", "/api/v1/batches", body=body, key=key)

    async def reschedule_batch(self, batch_id: str, scheduled_for: datetime | None) -> Json:
        """Change the release time of a batch, or remove it."""
        text = None if scheduled_for is None else scheduled_for.isoformat()
        return await self._post(f"/batches/{_path_segment(batch_id)}/reschedule", {"scheduledFor": text})

    async def post_batch_action(self, batch_id: str, action: str) -> Json:
        """`release`, `run`, `cancel` or `retry-failed` a batch."""
        return await self._post(f"/batches/{_path_segment(batch_id)}/{action}")

    async def get_payout(self, payout_id: str) -> Json:
        """Return a payout."""
        return await self._get(f"/payouts/{_path_segment(payout_id)}")

    async def get_timeline(self, payout_id: str) -> Json | None:
        """Return the timeline of a payout, if the API has one."""
        try:
            return await self._get(f"/payouts/{_path_segment(payout_id)}/timeline")
        except ApiRejected:
            return None

    async def post_payout_action(self, payout_id: str, action: str) -> Json:
        """`cancel` or `retry` a payout."""
        return await self._post(f"/payouts/{_path_segment(payout_id)}/{action}")

    async def get_events(self, **query: str | int) -> Json:
        """Return a page of the event feed."""
        return await self._get("/events", query)

    async def _get(self, path: str, query: Mapping[str, str | int] | None = None) -> Json:
        data: Json = (await self._transport.request("GET", f"/api/v1{path}", query=query)).data
        return data

    async def _post(self, path: str, body: Json | None = None) -> Json:
        data: Json = (await self._transport.request("POST", f"/api/v1{path}", body=body)).data
        return data


def _path_segment(text: str) -> str:
    return "-" if text in ("", ".", "..") else quote(text, safe="")
