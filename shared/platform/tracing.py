"""Traces: one request's path through gateway, worker and provider, for an OpenTelemetry collector.

Tracing is on where OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; other OTEL_ variables work
as documented. Otherwise OpenTelemetry is not even imported. It needs our extra `tracing`.

The context travels as W3C `traceparent`: clients may send one, messages carry it, Paystream receives it. Requests that
are committed together share one span, in the first one's trace with links to the others. Spans carry no personal data.
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
"""The message option with the traceparents of the requests that enqueued it."""
SPAN_LINKS_MAX: Final = 16

_provider: "TracerProvider | None" = None
_tracer: "Tracer | None" = None


class SpanKind(Enum):
    """The role of a span in a call; the names are OpenTelemetry's."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    CONSUMER = "CONSUMER"


def start_tracing(service: str, environ: Mapping[str, str] | None = None) -> None:
    """Start tracing in this process if an endpoint is configured; call it after a fork."""
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
    """Send the remaining spans and stop tracing."""
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
    """Open a span: a child of the current one or, given `parents`, of the first of these, with links to the others.

    Parents that are no valid traceparent are ignored.
    """
    return nullcontext() if _tracer is None else _span(_tracer, name, kind, parents, attributes)


@contextmanager
def _span(
    tracer: "Tracer", name: str, kind: SpanKind, parents: Sequence[str | None], attributes: Mapping[str, Any]
) -> "Iterator[Span]":
    from opentelemetry import trace
    from opentelemetry.context import Context

    contexts = [one for one in map(_parse, dict.fromkeys(parents)) if one is not None]
    context = trace.set_span_in_context(trace.NonRecordingSpan(contexts[0]), Context()) if contexts else None
    links = [trace.Link(one) for one in contexts[1:SPAN_LINKS_MAX]]
    with tracer.start_as_current_span(
        name,
        context=context,
        kind=trace.SpanKind[kind.value],
        links=links,
        attributes=attributes,
        # An exception's text may contain what our logs mask; the span records only its type.
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            mark_failed(opened, type(error).__name__)
            raise


def mark_failed(span: "Span | None", reason: str) -> None:
    """Mark a span as failed; `reason` must not contain personal data."""
    if span is not None:
        from opentelemetry.trace import Status, StatusCode

        span.set_status(Status(StatusCode.ERROR, reason))


def current_traceparent() -> str | None:
    """The traceparent of the current span; None without one."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _parse(text: str | None) -> Any:
    """Parse a traceparent into a span context; None if it is not valid."""
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
