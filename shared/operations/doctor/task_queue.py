"""Check Redis and its registered consumers: workers for every queue, a scheduler, a gateway."""

from collections.abc import Iterator
from typing import Any, Final

import redis

from shared.operations.doctor.finding import Finding, fail, ok, warn
from shared.platform.registered_consumers import GATEWAY_ROLE, SCHEDULER_ROLE, count_registered, queue_role
from shared.platform.settings import Settings
from shared.platform.task_queue import QUEUES, redis_client

MEMORY_SHARE_WARN: Final = 0.75
KEYS_SAMPLED: Final = 1000
OWN_KEY_PREFIXES: Final = (b"ovnpay:", b"dramatiq:")


def check_task_queue(settings: Settings) -> Iterator[Finding]:
    client = redis_client(settings, timeout_seconds=3.0)
    try:
        memory: Any = client.info("memory")
        yield from _check_memory(memory, bounded=settings.environment == "production")
        yield from _check_foreign_keys(client)
        yield from _check_consumers(client)
    except redis.AuthenticationError:
        yield fail(
            "redis",
            "it rejects the password",
            "correct the password in OVNPAY_REDIS_URL: redis://:PASSWORD@host:6379/0",
        )
    except redis.RedisError as error:
        remedy = "start Redis, or correct OVNPAY_REDIS_URL; no payout is lost meanwhile, but payouts are delayed"
        yield fail("redis", f"it does not answer ({type(error).__name__})", remedy)
    finally:
        client.close()


def _check_memory(memory: dict[str, Any], *, bounded: bool) -> Iterator[Finding]:
    policy, limit, used = memory.get("maxmemory_policy"), int(memory.get("maxmemory", 0)), int(memory["used_memory"])
    if policy != "noeviction":
        message = f"its maxmemory-policy is {policy}: when it is full it evicts messages"
        yield warn("redis", message, "set maxmemory-policy noeviction, in a Redis that only OVN Pay uses")
    elif limit and used > limit * MEMORY_SHARE_WARN:
        message = f"{used / limit:.0%} of its memory is used; when it is full, messages are rejected"
        yield warn("redis", message, "raise maxmemory, or find the queue without consumers with `ovnpay queues`")
    elif not limit and bounded:
        yield warn("redis", "it has no maxmemory and may use all of the machine's", "set maxmemory; 256mb is enough")
    else:
        yield ok("redis", "it answers and evicts nothing")


def _check_foreign_keys(client: "redis.Redis") -> Iterator[Finding]:
    _, keys = client.scan(0, count=KEYS_SAMPLED)
    foreign = sum(not (key if isinstance(key, bytes) else key.encode()).startswith(OWN_KEY_PREFIXES) for key in keys)
    if foreign:
        message = f"{foreign} of {len(keys)} keys belong to another application, which may fill or flush it"
        yield warn("redis: ours alone", message, "give OVN Pay its own Redis")


def _check_consumers(client: "redis.Redis") -> Iterator[Finding]:
    registered = count_registered(client)
    missing = [queue for queue in QUEUES if not registered[queue_role(queue)]]
    if len(missing) == len(QUEUES):
        yield fail("workers", "no worker runs: payouts are accepted but not paid", "start `ovnpay workers`")
    elif missing:
        remedy = f"start `ovnpay workers --queues {','.join(missing)}`, or add the queues to a pool"
        yield fail("workers", f"no worker consumes {', '.join(missing)}", remedy)
    else:
        counts = ", ".join(f"{queue} {registered[queue_role(queue)]}" for queue in QUEUES)
        yield ok("workers", f"processes by queue: {counts}")
    if registered[SCHEDULER_ROLE]:
        yield ok("scheduler", f"{registered[SCHEDULER_ROLE]} running")
    else:
        message = "none runs: lost messages are not enqueued again, and batches are not released at their time"
        yield fail("scheduler", message, "start `ovnpay scheduler`; if one runs, read its /health and log")
    if registered[GATEWAY_ROLE]:
        yield ok("gateway", f"{registered[GATEWAY_ROLE]} running")
    else:
        yield fail("gateway", "none runs: the API is down", "start `ovnpay gateway`")
