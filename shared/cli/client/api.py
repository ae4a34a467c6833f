"""The few calls of the public API that the commands make."""

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
    """An API with a key, and what can be asked of it. Times are RFC 3339, amounts are cents, as the API has them."""

    def __init__(
        self,
        connection: Connection,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.connection = connection
        self.sleep = sleep
        self._transport = Transport(connection, say, sleep)

    async def close(self) -> None:
        """Closes the connections."""
        await self._transport.close()

    async def balance(self) -> Json:
        """The wallet's money."""
        return await self._get("/balance")

    async def each(
        self, path: str, filters: Mapping[str, str] | None = None, *, page_size: int = PAGE_SIZE
    ) -> AsyncIterator[Json]:
        """Everything in a list, newest first; stop iterating to stop asking."""
        query: dict[str, str | int] = {"pageSize": page_size, **(filters or {})}
        while True:
            part = await self._get(path, query)
            for item in part["items"]:
                yield item
            if not part.get("nextCursor"):
                return
            query["cursor"] = part["nextCursor"]

    def payouts_of(self, batch_id: str) -> AsyncIterator[Json]:
        """All payouts of a batch."""
        return self.each(f"/batches/{_id(batch_id)}/payouts", page_size=BATCH_PAGE_SIZE)

    async def batch_made_by(self, key: str) -> Json | None:
        """The batch that a POST under this key has made within 48 hours; None where it made none."""
        found = await self._get("/payouts", {"idempotencyKey": key, "pageSize": 1})
        batch_ids = [item["batchId"] for item in found["items"] if item["batchId"]]
        return await self.batch(batch_ids[0]) if batch_ids else None

    async def batch(self, batch_id: str) -> Json:
        """A batch with `countsByStatus`; its payouts are left out, for `payouts_of` has them all."""
        found = await self._get(f"/batches/{_id(batch_id)}")
        return {name: value for name, value in found.items() if name not in ("payouts", "payoutsTruncated")}

    async def quote(self, body: Json) -> Json:
        """What a batch would cost; nothing is written."""
        return await self._post("/batches/quote", body)

    async def create(self, body: Json, key: str) -> ApiResponse:
        """Hands a batch in, once under this key."""
        return await self._transport.ask("POST", "/api/v1/batches", body=body, key=key)

    async def reschedule(self, batch_id: str, at: datetime | None) -> Json:
        """Gives a batch that waits another time, or none."""
        text = None if at is None else at.isoformat()
        return await self._post(f"/batches/{_id(batch_id)}/reschedule", {"scheduledFor": text})

    async def of_batch(self, batch_id: str, verb: str) -> Json:
        """`release`, `run`, `cancel` or `retry-failed` of a batch."""
        return await self._post(f"/batches/{_id(batch_id)}/{verb}")

    async def payout(self, payout_id: str) -> Json:
        """A payout."""
        return await self._get(f"/payouts/{_id(payout_id)}")

    async def timeline(self, payout_id: str) -> Json | None:
        """What has happened to a payout; None where this API does not tell."""
        try:
            return await self._get(f"/payouts/{_id(payout_id)}/timeline")
        except ApiRejected:
            return None

    async def of_payout(self, payout_id: str, verb: str) -> Json:
        """`cancel` or `retry` of a payout."""
        return await self._post(f"/payouts/{_id(payout_id)}/{verb}")

    async def events(self, **query: str | int) -> Json:
        """A part of the feed of events, and where it goes on."""
        return await self._get("/events", query)

    async def _get(self, path: str, query: Mapping[str, str | int] | None = None) -> Json:
        data: Json = (await self._transport.ask("GET", f"/api/v1{path}", query=query)).data
        return data

    async def _post(self, path: str, body: Json | None = None) -> Json:
        data: Json = (await self._transport.ask("POST", f"/api/v1{path}", body=body)).data
        return data


def _id(text: str) -> str:
    """An id as a part of a path: whatever was typed stays one part."""
    return "-" if text in ("", ".", "..") else quote(text, safe="")
