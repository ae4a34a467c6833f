"""The parts of Dramatiq that `dramatiq_internals` relies on are the ones that it was written for."""

import hashlib
import inspect
import tomllib
from pathlib import Path

import dramatiq
import pytest
from dramatiq import broker, common, worker
from dramatiq.brokers import redis

from shared.platform.task_queue.dramatiq_internals import READ_IN_VERSION

ROOT = Path(__file__).parents[2]
PARTS = {
    redis._RedisConsumer: "6385e191ba400ad4",
    worker.Worker: "1be04e3657fc5584",
    worker.ConsumerThread: "0df6272466a15401",
    worker._WorkQueueItem: "42aadef56603649d",
    broker.MessageProxy: "cc402f18708ac074",
    common.iter_queue: "8ffc4791272cea13",
}
"""Each part, with the digest of its source."""
SCRIPT_DIGEST = "ba4d872e4fb204eb"
"""Of the Lua script that names a queue's keys."""
READ_AGAIN = "read it again, mend dramatiq_internals.py, then update this digest and READ_IN_VERSION"


def digest(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:16]


def test_installed_and_pinned_version_is_the_one_that_was_read() -> None:
    assert dramatiq.__version__ == READ_IN_VERSION
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"dramatiq=={READ_IN_VERSION}" in project["dependencies"]
    assert f"dramatiq=={READ_IN_VERSION}" in (ROOT / "requirements.lock").read_text().split()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__qualname__)
def test_private_part_is_unchanged(part: type) -> None:
    assert digest(inspect.getsource(part).encode()) == PARTS[part], READ_AGAIN


def test_keys_in_redis_are_unchanged() -> None:
    script = Path(redis.__file__).parent / "redis" / "dispatch.lua"
    assert digest(script.read_bytes()) == SCRIPT_DIGEST, READ_AGAIN


def test_private_parts_are_used_in_one_module_only() -> None:
    private = ("_RedisConsumer", ".work_queue", "._exception", "consumer_whitelist", "requeue_messages", "iter_queue")
    users = {
        str(path.relative_to(ROOT))
        for folder in ("shared", "gateway", "workers", "scheduler")
        for path in (ROOT / folder).rglob("*.py")
        if any(name in path.read_text() for name in private)
    }
    assert users == {"shared/platform/task_queue/dramatiq_internals.py"}
