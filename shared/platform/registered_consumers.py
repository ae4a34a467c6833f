"""Registered consumers: each process registers its roles in Redis by a heartbeat every few seconds.

`ovnpay doctor`, `ovnpay queues` and the exporter read them, nothing that moves money does. Times are by Redis' clock.
"""

import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

import redis

from shared.platform.settings import Settings
from shared.platform.task_queue import redis_client

CONSUMERS_KEY: Final = "ovnpay:consumers"
"""Sorted set of `role|host|pid`, by the time of the last heartbeat."""
HEARTBEAT_SECONDS: Final = 5.0
EXPIRED_AFTER_SECONDS: Final = 3 * HEARTBEAT_SECONDS
DELETED_AFTER_SECONDS: Final = 3600.0
GATEWAY_ROLE: Final = "gateway"
SCHEDULER_ROLE: Final = "scheduler"


def queue_role(queue: str) -> str:
    """Return the role of a process that consumes a queue."""
    return f"queue:{queue}"


def count_registered(client: "redis.Redis") -> Counter[str]:
    """Count the processes of each role whose heartbeat is recent; raises redis.RedisError."""
    seconds, _ = client.time()
    members = client.zrangebyscore(CONSUMERS_KEY, seconds - EXPIRED_AFTER_SECONDS, "+inf")
    return Counter(member.decode().partition("|")[0] for member in members)  # type: ignore[union-attr]


class Heartbeat:
    """Registers this process from its own thread; an unreachable Redis is ignored."""

    def __init__(self, settings: Settings, roles: Callable[[], Iterable[str]]) -> None:
        """`roles` is called at each heartbeat; a role that it omits expires."""
        self._client = redis_client(settings, timeout_seconds=1.0)
        self._roles = roles
        self._process = f"{socket.gethostname()}|{os.getpid()}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop and deregister this process."""
        self._stopping.set()
        self._thread.join(3.0)

    def _run(self) -> None:
        registered: set[str] = set()
        while not self._stopping.is_set():
            registered |= self._register(self._roles())
            self._stopping.wait(HEARTBEAT_SECONDS)
        try:
            if registered:
                self._client.zrem(CONSUMERS_KEY, *registered)
        except redis.RedisError:
            pass  # the registration expires
        self._client.close()

    def _register(self, roles: Iterable[str]) -> set[str]:
        members = {f"{role}|{self._process}" for role in roles}
        try:
            seconds, _ = self._client.time()
            with self._client.pipeline(transaction=False) as pipe:
                if members:
                    pipe.zadd(CONSUMERS_KEY, dict.fromkeys(members, seconds))
                pipe.zremrangebyscore(CONSUMERS_KEY, "-inf", seconds - DELETED_AFTER_SECONDS)
                pipe.execute()
        except redis.RedisError:
            return set()
        return members
