"""Tracing: a payout is one trace from the client through gateway and worker to the provider."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from shared.platform import tracing
from tests.support.customer import Customer
from tests.support.http_client import call
from tests.support.polling import until
from tests.support.stack import running_stack


class Span(NamedTuple):
    """The parts of a span that the tests check."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """Run an OTLP collector on loopback; yield its URL and the received spans."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[Span] = []

    def text(value: Any) -> str:
        return str(getattr(value, value.WhichOneof("value")))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in request.resource_spans:
                service = next(text(one.value) for one in resource.resource.attributes if one.key == "service.name")
                spans.extend(
                    Span(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        {one.key: text(one.value) for one in span.attributes},
                    )
                    for scope in resource.scope_spans
                    for span in scope.spans
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.long
def test_one_payout_is_one_trace(tmp_path: Path) -> None:
    """The spans of request, commit, message and provider call are a chain in the client's trace."""
    # Given a system and a client with tracing
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    home = tmp_path / "home"
    home.mkdir()
    with collector() as (url, spans):
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with running_stack(home, **settings) as stack:
            customer = Customer(stack["gateway"], stack["sandbox_key"])
            driver_id = customer.verified_driver("Jane Doe")["id"]
            # When the client makes an instant payout
            body = json.dumps({"driverId": driver_id, "amount": 12_300}).encode()
            headers = customer.headers | {"traceparent": f"00-{trace}-{parent}-01"}
            call(stack["gateway"], "POST", "/api/v1/payouts/instant", body, headers).data  # noqa: B018

            # Then the whole chain is in the client's trace,
            def find_chain() -> list[Span] | None:
                mine, at = [one for one in list(spans) if one.trace == trace], parent
                chain = []
                while found := next((one for one in mine if one.parent == at), None):
                    chain.append(found)
                    at = found.id
                return chain if chain and chain[-1].name == "POST /payments" else None

            chain = until(find_chain, "the trace reaches the provider", 20)
            assert [(one.service, one.name) for one in chain] == [
                ("ovnpay-gateway", "POST /api/v1/payouts/instant"),
                ("ovnpay-gateway", "payouts.accept"),
                ("ovnpay-workers", "submissions.send_instant"),
                ("ovnpay-workers", "POST /payments"),
            ]
            # the log has its id,
            assert f'"trace_id": "{trace}"' in (stack.home / "logs" / "gateway.log").read_text()
    # and no span has the driver's name or a key.
    attributes = repr([one.attributes for one in spans])
    assert "Jane" not in attributes
    assert "psk_" not in attributes


HIDING = """
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
"""
LOADING = """
import gateway.app, workers.app, workers.payouts, scheduler.jobs
from shared.platform import tracing
tracing.start_tracing("gateway", {})
with tracing.span("x") as span:
    assert span is None and tracing.current_traceparent() is None
print([name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf"))])
tracing.start_tracing("gateway", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
print(tracing.is_tracing())
"""


def run(program: str) -> list[str]:
    """Run a program in a new process; return its output lines."""
    command, project = [sys.executable, "-c", f"import sys\n{program}"], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_tracing_is_not_loaded_without_a_collector() -> None:
    """redis-py itself imports 2 MB of OpenTelemetry metrics if they are installed."""
    loaded, on = run(LOADING)
    assert "opentelemetry.sdk.trace" not in loaded
    assert "opentelemetry.exporter" not in loaded
    assert "google.protobuf" not in loaded
    assert on == "True"


def test_missing_package_is_logged_and_disables_tracing() -> None:
    loaded, warning, on = run(HIDING + LOADING)
    assert (loaded, on) == ("[]", "False")
    assert "install ovnpay[tracing]" in warning


def test_invalid_traceparent_begins_a_new_trace() -> None:
    bad = ("", "00-0-0-00", "00-" + "g" * 32 + "-" + "1" * 16 + "-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01")
    for text in (*bad, "00-" + "0" * 32 + "-" + "1" * 16 + "-01", None, "x" * 9000):
        assert tracing._parse(text) is None
    assert tracing._parse("00-" + "1" * 32 + "-" + "2" * 16 + "-01").trace_id == int("1" * 32, 16)
