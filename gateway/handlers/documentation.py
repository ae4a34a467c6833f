"""The documentation: the OpenAPI document, and a page that displays it without internet access."""

from functools import cache
from importlib.resources import files
from typing import Final

from aiohttp import web

from gateway.app_state import REQUEST_ID, SERVICES
from gateway.http.envelope import json_response, success_body

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
def _asset(name: str) -> bytes:
    return files("swagger_ui").joinpath("static", name).read_bytes()


async def get_root(request: web.Request) -> web.Response:
    """Redirect browsers to the documentation; the body names it for programs."""
    links = {"documentation": "/docs", "openapi": "/openapi.json"}
    body = success_body(links, request[REQUEST_ID], request.app[SERVICES].clock.now())
    return json_response(body, 302, {"Location": "docs"})  # relative, like the page's links: the API may have a prefix


async def get_openapi_document(request: web.Request) -> web.Response:
    return web.Response(body=request.app[SERVICES].openapi_document(), content_type="application/json")


async def get_docs_page(request: web.Request) -> web.Response:
    return web.Response(
        text=DOCS_PAGE, content_type="text/html", headers={"Content-Security-Policy": DOCS_SECURITY_POLICY}
    )


async def get_docs_asset(request: web.Request) -> web.Response:
    name = request.match_info["file"]
    if name == "start.js":
        return web.Response(text=DOCS_SCRIPT, content_type="text/javascript")
    if name not in DOCS_ASSETS:
        raise web.HTTPNotFound
    return web.Response(body=_asset(name), content_type=DOCS_ASSETS[name], headers=DOCS_CACHE_HEADERS)
