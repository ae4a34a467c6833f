"""The HTTP gateway: validates requests, calls the domain, formats responses, enqueues tasks.

`routes.py` is the URL table. `handlers/` has a file for each resource, with its request and response shapes. `http/`
has what surrounds each request, `intake/` the group commit, `openapi/` the generated document. README.md explains the
API.
"""

from shared.platform import process_memory as process_memory
