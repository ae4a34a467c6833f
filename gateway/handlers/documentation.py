"""The documentation: the OpenAPI document, and a page to read it that works without internet."""

from functools import cache
from importlib.resources import files
from typing import Final

import msgspec
from aiohttp import web

DOCS_ASSETS: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
DOCS_CACHE_HEADERS: Final = {"Cache-Control": "public, max-age=86400"}
DOCS_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>OVN Pay API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
DOCS_SCRIPT: Final = """SwaggerUIBundle({url: "openapi.json", dom_id: "#page", docExpansion: "list", deepLinking: true,
  persistAuthorization: true, displayRequestDuration: true, tryItOutEnabled: true, validatorUrl: null});
"""
DOCS_SECURITY_POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
)


@cache
def _document() -> bytes:
    from gateway.openapi.document import build_document

    return msgspec.json.encode(build_document())


@cache
def _asset(name: str) -> bytes:
    return files("swagger_ui").joinpath("static", name).read_bytes()


async def get_openapi_document(request: web.Request) -> web.Response:
    """The OpenAPI document."""
    return web.Response(body=_document(), content_type="application/json")


async def get_docs_page(request: web.Request) -> web.Response:
    """The page to read it."""
    return web.Response(
        text=DOCS_PAGE, content_type="text/html", headers={"Content-Security-Policy": DOCS_SECURITY_POLICY}
    )


async def get_docs_asset(request: web.Request) -> web.Response:
    """A file of the page."""
    name = request.match_info["file"]
    if name == "start.js":
        return web.Response(text=DOCS_SCRIPT, content_type="text/javascript")
    if name not in DOCS_ASSETS:
        raise web.HTTPNotFound
    return web.Response(body=_asset(name), content_type=DOCS_ASSETS[name], headers=DOCS_CACHE_HEADERS)
