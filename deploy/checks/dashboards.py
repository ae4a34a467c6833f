"""Query every dashboard panel on a Prometheus that scrapes the running stack under load.

Needs `make up` running (in this folder, or in OVNPAY_HOME) and Prometheus. Also runs `promtool check metrics` on each
live scrape. Prints a table: each panel's queries, the number of series, and the first series.
Exit code: 0 every query returns data, 1 a query returns none or a scrape is malformed, 3 Prometheus or the stack is
missing.
"""

import argparse
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from deploy.checks.prometheus import find_program

_PROJECT = Path(__file__).resolve().parents[2]
_RATE_INTERVAL = "[30s]"
"""The value of $__rate_interval."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Query every dashboard panel of a running stack under load.")
    parser.add_argument("--seconds", type=float, default=25.0, help="how long the load lasts (default: %(default)g)")
    options = parser.parse_args()
    home = Path(os.environ.get("OVNPAY_HOME") or _PROJECT / ".ovnpay")
    server, promtool = find_program("prometheus"), find_program("promtool")
    if server is None or promtool is None or not (home / "stack.json").exists():
        print("dashboards: NOT CHECKED: Prometheus or a running stack is missing")
        return 3
    stack = json.loads((home / "stack.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        process, url = _start_prometheus(server, Path(folder), stack)
        try:
            _put_load(stack, options.seconds)
            time.sleep(6)  # two scrapes and an evaluation
            malformed = [name for name, at in stack["metrics"].items() if not _is_well_formed(promtool, name, at)]
            empty = _query_all(url)
        finally:
            process.terminate()
            process.wait(10)
    return 1 if malformed or empty else 0


def _start_prometheus(server: Path, folder: Path, stack: dict[str, Any]) -> tuple[subprocess.Popen[bytes], str]:
    (folder / "rules").mkdir()
    for path in (_PROJECT / "deploy" / "prometheus" / "rules").glob("*.yml"):
        (folder / "rules" / path.name).write_text(path.read_text().replace("interval: 2m", "interval: 5s"))
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [urllib.parse.urlsplit(at).netloc]}]}
        for name, at in stack["metrics"].items()
    ]
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(server), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    log = (folder / "log").open("wb")
    process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{url}/-/ready")
            return process, url
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                process.kill()
                raise SystemExit((folder / "log").read_text()) from None
            time.sleep(0.1)


def _put_load(stack: dict[str, Any], seconds: float) -> None:
    from tests.support.customer import Customer
    from tests.support.webhook_receiver import running_receiver

    customer = Customer(stack["gateway"], stack["sandbox_key"])
    customer.fund(50_000_000)
    driver_id = customer.verified_driver("Load Driver")["id"]
    until = time.monotonic() + seconds
    with running_receiver() as receiver:
        endpoint = {"url": f"{receiver.url}/ok", "events": ["payout.succeeded", "payout.failed"]}
        webhook_id = customer.post("/api/v1/webhooks", endpoint).data["id"]

        def pay() -> None:
            count = 0
            while time.monotonic() < until:
                path = "/api/v1/payouts/instant" if count % 5 == 0 else "/api/v1/payouts"
                more = {"requestedBy": "load"} if count % 5 == 0 else {}
                customer.post(path, {"driverId": driver_id, "amount": 1000 + count, "description": "load", **more})
                count += 1

        def schedule() -> None:
            while time.monotonic() < until - 3:
                at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
                payouts = [{"driverId": driver_id, "amount": 900 + place} for place in range(20)]
                body = {"name": "load", "scheduledFor": at, "payouts": payouts}
                customer.post("/api/v1/batches", body, str(uuid.uuid4()))
                customer.get("/api/v1/payouts", pageSize=20)
                customer.post("/api/v1/webhooks/paystream", {})  # unsigned: rejected and counted
                time.sleep(2)

        threads = [threading.Thread(target=work) for work in (pay, pay, schedule)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(3)
        customer.post(f"/api/v1/webhooks/{webhook_id}/test", {})


def _is_well_formed(promtool: Path, name: str, at: str) -> bool:
    with urllib.request.urlopen(at) as answer:
        text = answer.read()
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    output = (done.stdout + done.stderr).decode().strip() or "well-formed"
    print(f"promtool check metrics: {name}: {text.count(b'# TYPE')} metrics, {output}")
    return done.returncode == 0


def _query_all(url: str) -> int:
    rows, queries, with_data, later, panels = [], 0, 0, 0, 0
    for path in sorted((_PROJECT / "deploy" / "grafana" / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            panels += 1
            for target in panel["targets"]:
                series = _query(url, target["expr"].replace("[$__rate_interval]", _RATE_INTERVAL))
                queries += 1
                numbers = [one for one in series if not math.isnan(float(one["value"][1]))]
                with_data += bool(numbers)
                begins_later = not numbers and panel["description"].startswith("Begins with")
                later += begins_later
                if begins_later:
                    first = panel["description"]
                elif not numbers:
                    first = "no number" if series else "NO DATA"
                else:
                    first = _format_series(numbers[0])
                rows.append((dashboard["title"].removeprefix("OVN Pay: "), panel["title"], len(series), first))
    for dashboard, panel, count, first in rows:
        print(f"{dashboard:18} {panel:42} {count:3}  {first}")
    print(f"dashboards: {panels} panels, {queries} queries, {with_data} with data, {later} whose data begins later")
    return queries - with_data - later


def _query(url: str, expression: str) -> list[Any]:
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}") as answer:
        data = json.load(answer)["data"]
    return [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else list(data["result"])


def _format_series(series: Any) -> str:
    labels = ", ".join(f"{name}={value}" for name, value in series["metric"].items() if name != "__name__")
    return f"{float(series['value'][1]):.4g}  {labels}"


if __name__ == "__main__":
    sys.exit(main())
