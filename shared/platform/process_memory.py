"""Process memory: fewer garbage collections, and imports that libraries make only because a package is installed.

Each service's package imports this module first, which keeps those imports out.

By default Python collects after 700 new objects, a few dozen requests, and each full collection visits the 150,000
objects of start-up for 80 milliseconds. Nearly all of our objects are freed with their last reference.
"""

import ctypes
import gc
import importlib
import sys
from contextlib import suppress
from typing import Final

NEW_OBJECTS_MAX: Final = 10_000
"""New objects before a collection: tens of megabytes if each were part of a large failed request that its error's
traceback keeps alive."""


def reduce_garbage_collection() -> None:
    """Exempt all present objects from collection, and collect less often; for a process that is ready to serve."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS_MAX)
    release_free_memory()


def release_free_memory() -> None:
    """Return freed memory to the system, where the C library can (glibc)."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def import_without(library: str, *, without: str) -> None:
    """Import `library` as if the package `without` were not installed; later imports of that package work as usual."""
    if library in sys.modules or without in sys.modules:
        return
    sys.modules[without] = None  # type: ignore[assignment]  # makes `import` fail, as Python documents
    try:
        importlib.import_module(library)
    finally:
        del sys.modules[without]


# 4 MB in each process, for tracebacks that show local variables, which must not be in a log.
import_without("structlog", without="rich")
# 3 MB for Redis' own metrics, which nothing reads. Tracing imports OpenTelemetry itself, where it is configured.
import_without("redis", without="opentelemetry")
