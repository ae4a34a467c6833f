"""`ovnpay status`: list the processes of a home by probing them, not by asking their parent."""

import json
from typing import Any, NamedTuple

from deploy.local import probes, processes
from deploy.local.home import Home
from deploy.local.leftovers import recorded_processes

_NOT_READY = 3


class Row(NamedTuple):
    """One process. The state is ready, starting (it runs and does not answer) or down."""

    name: str
    pid: int | None
    state: str
    url: str
    uptime_seconds: int
    resident_bytes: int


def status(home: Home, *, as_json: bool) -> int:
    """Print the table; return 0 if all are ready, else 3."""
    rows = read_rows(home)
    is_ready = bool(rows) and all(row.state == "ready" for row in rows)
    if as_json:
        content = {"home": str(home.path), "ready": is_ready, "processes": [row._asdict() for row in rows]}
        print(json.dumps(content, indent=2))
    elif rows:
        print("\n".join(_table(rows)))
    else:
        print(f"nothing runs in {home.path}")
    return 0 if is_ready else _NOT_READY


def read_rows(home: Home) -> list[Row]:
    """Return the parent ("stack") and every service; empty if no process is left."""
    run = home.read_run()
    known = recorded_processes(run)
    alive = {name: process for name, process in known.items() if processes.is_alive(process)}
    if not alive:
        return []
    services: list[dict[str, Any]] = [{"name": "stack", "url": "", "probe": ""}, *run.get("services", [])]
    rows = []
    for service in services:
        process = alive.get(service["name"])
        if process is None:
            rows.append(Row(service["name"], None, "down", service["url"], 0, 0))
            continue
        state = "ready" if probes.is_ready(service["probe"], process.pid) else "starting"
        # The parent's own memory only: all others descend from it.
        memory = processes.resident_bytes(process, with_descendants=service["name"] != "stack")
        uptime = int(processes.uptime_seconds(process))
        rows.append(Row(service["name"], process.pid, state, service["url"], uptime, memory))
    return rows


def _table(rows: list[Row]) -> list[str]:
    cells = [("NAME", "PID", "STATE", "UPTIME", "MEMORY", "URL")]
    for row in rows:
        pid = str(row.pid or "-")
        memory = f"{row.resident_bytes / 1e6:.0f} MB" if row.pid else "-"
        cells.append((row.name, pid, row.state, _duration(row.uptime_seconds) if row.pid else "-", memory, row.url))
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
