"""The embedded Valkey keeps its data over a stop and a kill."""

import signal
from pathlib import Path

import redis

from deploy.local import processes
from deploy.local.valkey import EmbeddedValkey
from tests.support.polling import until


def test_data_survives_a_stop_and_a_kill(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path / "with a space" / "valkey")
    with valkey, redis.Redis.from_url(valkey.url) as client:
        client.set("stopped", 1)
    assert valkey.pid is None

    with valkey:
        with redis.Redis.from_url(valkey.url) as client:
            client.set("killed", 2)
        (process,) = processes.serving(valkey.data_dir, "valkey-server")
        processes.send(process, signal.SIGKILL)
        until(lambda: valkey.pid is None, "the server is gone")

        valkey.start()
        valkey.wait_ready()

        with redis.Redis.from_url(valkey.url) as client:
            assert client.mget("stopped", "killed") == [b"1", b"2"]
    assert processes.serving(valkey.data_dir, "valkey-server") == []


def test_full_server_rejects_writes_and_listens_on_loopback_only(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as valkey, redis.Redis.from_url(valkey.url) as client:
        for name, value in {
            "maxmemory-policy": "noeviction",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "bind": "127.0.0.1",
        }.items():
            assert client.config_get(name) == {name: value}
