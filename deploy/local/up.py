"""`ovnpay up`: start the whole system, describe it, keep it running, and stop it in order."""

import os
import time
from collections.abc import Mapping
from typing import Any

from deploy.local.home import Home
from deploy.local.leftovers import stop_leftovers
from deploy.local.plan import Plan, PlanMaker, make_plan
from deploy.local.ports import PortError
from deploy.local.processes import identify
from deploy.local.server import EmbeddedServerError
from deploy.local.supervisor import PortLost, StartFailed, Stopped, Supervisor
from deploy.local.terminal import Terminal

_LOCK_PATIENCE_SECONDS = 1.0
_STARTS_MAX = 5
"""Starts in a row that may lose a port to another process."""


def up(home: Home, environ: Mapping[str, str], plan_maker: PlanMaker = make_plan, *, detached: bool = False) -> int:
    """Run the system of this home until a stop is requested; return the exit code.

    `detached`: close the output when everything is ready, because the reader waits for its end.
    """
    try:
        taken = _take(home)
    except OSError as error:
        Terminal().line(f"Can't use {home.path}: {error}", "bad")
        return 1
    if not taken:
        return _say_running(home)
    terminal = Terminal(home.log_path("stack"))
    try:
        terminal.line(f"OVN Pay starts in {home.path}", "strong")
        if leftovers := stop_leftovers(home):
            terminal.step(f"stopped {len(leftovers)} processes that an earlier run left behind")
        for start in range(1, _STARTS_MAX + 1):
            home.forget_run()
            plan = plan_maker(home, environ)
            for note in plan.notes:
                terminal.step(note, "strong")
            try:
                return _run(home, plan, terminal, detached=detached)
            except PortLost as error:
                if start == _STARTS_MAX:
                    raise
                terminal.step(f"{error}: starting again with another port", "strong")
        raise AssertionError("unreachable")
    except (OSError, PortError, EmbeddedServerError, StartFailed) as error:
        # The last line of the output: the cause is visible without scrolling.
        terminal.line(str(error), "bad")
        return 1
    finally:
        home.release()


def _run(home: Home, plan: Plan, terminal: Terminal, *, detached: bool) -> int:
    record = _Record(home, plan, terminal)
    supervisor = Supervisor(plan.services, home, terminal, on_change=lambda: record.write(supervisor))
    supervisor.listen_to_signals()
    try:
        supervisor.start()
        record.is_ready = True
        record.write(supervisor)
        _say_ready(plan.description, home, terminal)
        if detached:
            terminal.stop_printing()
        supervisor.watch()
    except Stopped as why:
        terminal.line()
        terminal.step(f"stopping ({why})")
    finally:
        # stack.json exists only while the system can be used.
        home.stack_file.unlink(missing_ok=True)
        supervisor.stop()
        home.forget_run()
    terminal.step("all stopped")
    return 0


class _Record:
    """Rewrites run.json and stack.json after each change of a pid or a state."""

    def __init__(self, home: Home, plan: Plan, terminal: Terminal) -> None:
        self.is_ready = False
        self._home = home
        self._plan = plan
        self._terminal = terminal
        self._started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def write(self, supervisor: Supervisor) -> None:
        try:
            self._write(supervisor)
        except OSError as error:  # a full disk or a deleted home must not stop payouts
            self._terminal.step(f"Can't write to {self._home.path}: {error}", "bad")

    def _write(self, supervisor: Supervisor) -> None:
        itself = identify(os.getpid())
        rows: dict[str, Any] = {"stack": {"pid": os.getpid(), "started": itself.started if itself else ""}}
        services = []
        for child in supervisor.children:
            service = child.service
            if child.identity and not (service.on_output and child.is_ready):  # a finished job has no process
                rows[service.name] = child.identity._asdict()
            if not service.on_output:
                services.append({"name": service.name, "url": service.url, "probe": service.probe})
        self._home.write_run({"ready": self.is_ready, "processes": rows, "services": services})
        if self.is_ready:
            pids = {name: row["pid"] for name, row in rows.items()}
            content = {**self._plan.description, "started_at": self._started_at, "processes": pids}
            self._home.write_stack(content)


def _take(home: Home) -> bool:
    # `down` locks the home for a moment, and a stopping parent until its end: wait, unless one is ready.
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while not home.take():
        if time.monotonic() > deadline or home.read_run().get("ready"):
            return False
        time.sleep(0.05)
    return True


def _say_running(home: Home) -> int:
    terminal = Terminal()
    stack = home.read_stack()
    if not stack:
        terminal.line(f"another `ovnpay up` is starting or stopping in {home.path}: see `ovnpay status`", "bad")
        return 1
    terminal.line(f"OVN Pay already runs in {home.path} (pid {stack['processes']['stack']})", "good")
    _say_addresses(stack, home, terminal)
    return 0


def _say_ready(stack: Mapping[str, Any], home: Home, terminal: Terminal) -> None:
    terminal.line()
    terminal.line(f"OVN Pay is ready after {terminal.elapsed_seconds():.1f} s", "good")
    _say_addresses(stack, home, terminal)
    terminal.line("Ctrl-C or `make down` stops it.", "quiet")


def _say_addresses(stack: Mapping[str, Any], home: Home, terminal: Terminal) -> None:
    terminal.line()
    terminal.line(f"  gateway      {stack['gateway']}")
    terminal.line(f"  docs         {stack['gateway']}/docs")
    terminal.line(f"  paystream    {stack['paystream']}")
    for name, url in stack["metrics"].items():
        terminal.line(f"  metrics      {url}  {name}")
    terminal.line(f"  described    {home.stack_file}")
    terminal.line(f"  logs         {home.logs}")
    if key := stack.get("sandbox_key"):
        terminal.line(f"  sandbox key  {key}", "strong", is_logged=False)
        terminal.line()
        terminal.line("Try it (README.md has the three commands that pay a first driver):")
        terminal.line()
        terminal.line(f"  curl -s -H 'Authorization: Bearer {key}' {stack['gateway']}/api/v1/balance", is_logged=False)
    terminal.line()
