"""Is Redis there, of the right kind, and is somebody listening: every queue, and the scheduler that rings again?"""

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
    """The server, then who is there."""
    client = redis_client(settings, timeout_seconds=3.0)
    try:
        memory: Any = client.info("memory")
        yield from _memory(memory, bounded=settings.environment == "production")
        yield from _strangers(client)
        yield from _presence(client)
    except redis.AuthenticationError:
        yield fail(
            "redis", "it refuses the password", "set OVNPAY_REDIS_URL with the right one: redis://:PASSWORD@host:6379/0"
        )
    except redis.RedisError as error:
        mend = "start it, or set OVNPAY_REDIS_URL right; no payout is lost meanwhile, but none moves"
        yield fail("redis", f"it does not answer ({type(error).__name__})", mend)
    finally:
        client.close()


def _memory(memory: dict[str, Any], *, bounded: bool) -> Iterator[Finding]:
    policy, most, used = memory.get("maxmemory_policy"), int(memory.get("maxmemory", 0)), int(memory["used_memory"])
    if policy != "noeviction":
        says = f"its maxmemory-policy is {policy}: a full Redis would throw doorbells away, and parts of queues"
        yield warn("redis", says, "set maxmemory-policy noeviction, in a Redis that only OVN Pay uses")
    elif most and used > most * MEMORY_SHARE_WARN:
        says = f"{used / most:.0%} of its memory is taken: full, it takes no doorbell and gives none"
        yield warn("redis", says, "raise maxmemory, or find out who doesn't listen")
    elif not most and bounded:
        yield warn("redis", "it has no maxmemory: it would take what the machine has", "set maxmemory, 256mb is plenty")
    else:
        yield ok("redis", "it answers, and forgets nothing when it is full")


def _strangers(client: "redis.Redis") -> Iterator[Finding]:
    _, keys = client.scan(0, count=KEYS_SAMPLED)
    foreign = sum(not (key if isinstance(key, bytes) else key.encode()).startswith(OWN_KEY_PREFIXES) for key in keys)
    if foreign:
        says = f"of {len(keys)} keys {foreign} are somebody else's: what fills or flushes it stops our doorbells"
        yield warn("redis: ours alone", says, "give OVN Pay a Redis of its own")


def _presence(client: "redis.Redis") -> Iterator[Finding]:
    there = count_registered(client)
    unheard = [queue for queue in QUEUES if not there[queue_role(queue)]]
    if len(unheard) == len(QUEUES):
        yield fail("workers", "no worker is there: payouts are taken in, and none is paid", "start `ovnpay workers`")
    elif unheard:
        says = f"nobody hears {', '.join(unheard)}"
        yield fail("workers", says, f"start `ovnpay workers --queues {','.join(unheard)}`, or add them to a pool")
    else:
        yield ok(
            "workers",
            ", ".join(f"{queue} {there[queue_role(queue)]}" for queue in QUEUES) + " processes hear the queues",
        )
    if there[SCHEDULER_ROLE]:
        yield ok("scheduler", f"{there[SCHEDULER_ROLE]} ticking")
    else:
        says = "none ticks: a doorbell that is lost is not rung again, and no batch is released at its time"
        yield fail(
            "scheduler", says, "start `ovnpay scheduler`; if one runs, its /health and log say why it doesn't tick"
        )
    if there[GATEWAY_ROLE]:
        yield ok("gateway", f"{there[GATEWAY_ROLE]} serving")
    else:
        yield fail("gateway", "none is there: nobody's request is taken", "start `ovnpay gateway`")
