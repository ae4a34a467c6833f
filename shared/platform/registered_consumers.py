"""Presence: who is there, told by every process to Redis every few seconds; what `ovnpay doctor` asks.

Nothing that moves money reads it. It has Redis' own clock, so that a process whose clock is wrong is still there.
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

CONSUMERS_KEY: Final = "ovnpay:presence"
HEARTBEAT_SECONDS: Final = 5.0
EXPIRED_AFTER_SECONDS: Final = 3 * HEARTBEAT_SECONDS
DELETED_AFTER_SECONDS: Final = 3600.0
GATEWAY_ROLE: Final = "gateway"
SCHEDULER_ROLE: Final = "scheduler"


def queue_role(queue: str) -> str:
    """What a process that listens to a queue says it is."""
    return f"queue:{queue}"


def count_registered(client: "redis.Redis") -> Counter[str]:
    """How many processes there are of each name; raises redis.RedisError."""
    seconds, _ = client.time()
    members = client.zrangebyscore(CONSUMERS_KEY, seconds - EXPIRED_AFTER_SECONDS, "+inf")
    return Counter(member.decode().partition("|")[0] for member in members)  # type: ignore[union-attr]


class Heartbeat:
    """Says from a thread of its own that this process is there. Redis being away is nobody's concern here."""

    def __init__(self, settings: Settings, names: Callable[[], Iterable[str]]) -> None:
        """`names` is asked each time: what it leaves out is soon taken for gone."""
        self._client = redis_client(settings, timeout_seconds=1.0)
        self._names = names
        self._who = f"{socket.gethostname()}|{os.getpid()}"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Takes leave, so that nobody takes this process for a living one."""
        self._stopping.set()
        self._thread.join(3.0)

    def _run(self) -> None:
        said: set[str] = set()
        while not self._stopping.is_set():
            said |= self._say(self._names())
            self._stopping.wait(HEARTBEAT_SECONDS)
        try:
            if said:
                self._client.zrem(CONSUMERS_KEY, *said)
        except redis.RedisError:
            pass  # it will be taken for gone
        self._client.close()

    def _say(self, names: Iterable[str]) -> set[str]:
        members = {f"{name}|{self._who}" for name in names}
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
