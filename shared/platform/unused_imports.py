"""What our services leave out of memory: packages that a library takes along for no other reason than that they are
installed.

Importing this module is what does it, so each service's package does so before anything else.
"""

import importlib
import sys


def import_without(library: str, *, without: str) -> None:
    """Imports a library as if a package were not installed; who needs that later can import it as ever."""
    if library in sys.modules or without in sys.modules:
        return
    sys.modules[without] = None  # type: ignore[assignment]  # what Python documents for "not to be had"
    try:
        importlib.import_module(library)
    finally:
        del sys.modules[without]


import_without("structlog", without="rich")
"""4 MB in each process, to print tracebacks in a way that shows local variables, which we don't want."""
import_without("redis", without="opentelemetry")
"""3 MB, for Redis' own figures, which nobody reads. Our traces import it themselves, where somebody collects them."""
