"""Traces: one request's way through gateway, worker and provider, for whoever runs an OpenTelemetry collector.

They are made where OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) names one, by OTLP over HTTP;
the other OTEL_ variables hold as its documents say, OTEL_TRACES_SAMPLER among them. Otherwise nothing of OpenTelemetry
is even imported, and a span costs a comparison. It is the extra `tracing` of our package.

A trace goes on by W3C's `current_traceparent`: clients may send one, messages carry it beside their ids, and
Paystream gets it.
Requests that are committed together are one span from there on: it belongs to the first one's trace, and links the
others. Spans carry ids, never what a driver told us.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

logger = structlog.get_logger(__name__)

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TRACEPARENT_HEADER: Final = "traceparent"
TRACEPARENTS_OPTION: Final = "traceparents"
"""The option of a message that has those of whoever rang."""
SPAN_LINKS_MAX: Final = 16

_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


class SpanKind(Enum):
    """Which side of a call a span is; the names are OpenTelemetry's."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    CONSUMER = "CONSUMER"


def start_tracing(service: str, environ: Mapping[str, str] | None = None) -> None:
    """Begins to trace in this process, after a fork, where an endpoint is configured."""
    global _provider, _tracer
    environ = os.environ if environ is None else environ
    if not any(environ.get(name) for name in ENDPOINTS) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        logger.warning("tracing.unavailable", why=str(error), hint="install ovnpay[tracing]")
        return
    _provider = TracerProvider(resource=Resource.create({"service.name": f"ovnpay-{service}"}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("ovnpay")


def stop_tracing() -> None:
    """Sends what is not sent yet, and traces no more."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        provider.shutdown()


def is_tracing() -> bool:
    """Whether this process traces."""
    return _tracer is not None


def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, parents: Sequence[str | None] = (), **attributes: Any
) -> "AbstractContextManager[Span | None]":
    """A span around what is done within: the child of the current one or, where `parents` are given, of the first of
    these, with links to the others. What is no traceparent is left out.
    """
    return nullcontext() if _tracer is None else _span(_tracer, name, kind, parents, attributes)


@contextmanager
def _span(
    tracer: "Tracer", name: str, kind: SpanKind, parents: Sequence[str | None], attributes: Mapping[str, Any]
) -> "Iterator[Span]":
    from opentelemetry import trace
    from opentelemetry.context import Context

    read = [one for one in map(_read, dict.fromkeys(parents)) if one is not None]
    context = trace.set_span_in_context(trace.NonRecordingSpan(read[0]), Context()) if read else None
    links = [trace.Link(one) for one in read[1:SPAN_LINKS_MAX]]
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=trace.SpanKind[kind.value],
        links=links,
        attributes=attributes,
        # An exception's text may say what our logs mask: the span says its kind, the log the rest.
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except BaseException as error:
            mark_failed(made, type(error).__name__)
            raise


def mark_failed(made: "Span | None", why: str) -> None:
    """Marks a span as failed; `why` in our own words."""
    if made is not None:
        from opentelemetry.trace import Status, StatusCode

        made.set_status(Status(StatusCode.ERROR, why))


def current_traceparent() -> str | None:
    """The current span as it is handed on; None where there is none."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _read(text: str | None) -> Any:
    """A traceparent's span context; None for whatever is none."""
    from opentelemetry.trace import SpanContext, TraceFlags

    parts = (text or "").split("-")
    try:
        version, trace_id, span_id, flags = (int(part, 16) for part in parts[:4])
    except ValueError:
        return None
    well_formed = [len(part) for part in parts[:4]] == [2, 32, 16, 2] and (len(parts) == 4 or version > 0)
    if not well_formed or version == 0xFF:
        return None
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & 1))
    return context if context.is_valid else None
