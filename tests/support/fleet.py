"""The system without a supervisor: a test starts and stops each process, also from another source tree.

Commands and environments are those of `ovnpay up`.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.local import probes
from deploy.local.home import Home
from deploy.local.plan import make_plan
from deploy.local.service import Service
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.simulator import Simulator
from tests.support.stack import NO_RATE_LIMITS, free_port_settings

METRICS = {"workers": "OVNPAY_WORKERS_METRICS_PORT", "scheduler": "OVNPAY_SCHEDULER_METRICS_PORT"}


class RunningProcess:
    """A process of the system."""

    def __init__(self, service: Service, log_path: Path) -> None:
        if service.prepare:
            service.prepare()
        self.name, self.probe = service.name, service.probe
        self._stop_signal = service.stop_signal
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                service.command,
                cwd=service.working_dir,
                env=service.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until its probe reports that it is ready."""

        def ready() -> bool:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
            return probes.is_ready(self.probe, self.process.pid)

        until(ready, f"{self.name} is ready", 60, pause_seconds=0.05)

    def stop(self, within_seconds: float = 20) -> float:
        """Send the stop signal, and assert that the process ends with status 0; return the seconds."""
        started = time.monotonic()
        self.process.send_signal(self._stop_signal)
        assert self.process.wait(within_seconds) == 0, f"{self.name} ended with {self.process.returncode}"
        return time.monotonic() - started

    def suspend(self) -> None:
        """Stop the process; its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process and its descendants."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Fleet:
    """The servers, the simulator, and the processes that a test has started."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        (home / "logs").mkdir(exist_ok=True)
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("OVNPAY_", "PAYSTREAM_SIM_"))}
        environment = clean | free_port_settings() | NO_RATE_LIMITS | settings | {"OVNPAY_HOME": str(home)}
        self._plan = make_plan(Home(home), environment)
        self._services = {service.name: service for service in self._plan.services}
        self.description = self._plan.description
        self.running: list[RunningProcess] = []

    def start(self, name: str, code: Path | None = None, **settings: str) -> RunningProcess:
        """Start a process and wait until it is ready; `code` is another source tree to run."""
        made = self.start_without_waiting(name, code, **settings)
        made.wait_ready()
        return made

    def start_without_waiting(self, name: str, code: Path | None = None, **settings: str) -> RunningProcess:
        """Start a process without waiting."""
        service = self._services[name]
        probe = service.probe
        if name in METRICS:
            settings[METRICS[name]] = str(port := free_port())
            probe = f"http://127.0.0.1:{port}/health"
        elif "OVNPAY_GATEWAY_PORT" in settings:
            probe = f"http://127.0.0.1:{settings['OVNPAY_GATEWAY_PORT']}/health"
            settings["OVNPAY_GATEWAY_METRICS_PORT"] = str(free_port())
        changed = service._replace(
            environment={**service.environment, **settings}, probe=probe, working_dir=code or service.working_dir
        )
        made = RunningProcess(changed, self.home / "logs" / f"{name}.log")
        self.running.append(made)
        return made

    def bootstrap(self, code: Path | None = None) -> None:
        """Migrate the database, and create the first organization."""
        job = self._services["bootstrap"]
        done = subprocess.run(
            job.command,
            cwd=code or job.working_dir,
            env=job.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert job.on_output is not None
        job.on_output(done.stdout)

    def customer(self) -> Customer:
        """The customer of the sandbox key."""
        return Customer(self.description["gateway"], self.description["sandbox_key"])

    def simulator(self) -> Simulator:
        """The control endpoints of the simulator."""
        return Simulator(self.description["paystream"])

    def logs(self, lines: int = 40) -> str:
        """Return the end of each log."""
        tails = []
        for path in sorted((self.home / "logs").glob("*.log")):
            tails += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(tails)


@contextmanager
def running_fleet(home: Path, *, code: Path | None = None, **settings: str) -> Iterator[Fleet]:
    """Run the servers and the simulator on a migrated database; `code` is another source tree for the migration.

    Every process is killed at the end.
    """
    made = Fleet(home, settings)
    try:
        for server in [
            made.start_without_waiting("postgres"),
            made.start_without_waiting("valkey"),
            made.start_without_waiting("paystream"),
        ]:
            server.wait_ready()
        made.bootstrap(code)
        yield made
    except BaseException as error:
        error.add_note(made.logs())
        raise
    finally:
        for process in reversed(made.running):
            process.kill()
