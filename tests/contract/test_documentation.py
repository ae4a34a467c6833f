"""The documentation is reachable from the gateway's root."""

import json
from urllib.parse import urljoin

from tests.contract.callers import ask
from tests.support.stack import Stack


def test_root_redirects_browsers_to_the_docs_page_and_names_it_in_the_body(stack: Stack) -> None:
    root = ask(stack["gateway"], "GET", "/")
    assert root.status == 302
    assert json.loads(root.text)["data"] == {"documentation": "/docs", "openapi": "/openapi.json"}
    assert urljoin("http://gateway/", root.headers["Location"]) == "http://gateway/docs"
    assert urljoin("http://proxy/ovnpay/", root.headers["Location"]) == "http://proxy/ovnpay/docs"
    page = ask(stack["gateway"], "GET", "/docs")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
