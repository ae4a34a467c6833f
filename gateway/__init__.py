"""The gateway: HTTP in, nothing else. It checks requests, calls the domain, shapes answers, rings bells."""

from shared.platform import unused_imports as unused_imports
