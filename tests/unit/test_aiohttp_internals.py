"""The gateway's server uses private parts of aiohttp: an upgrade must not change them unnoticed."""

import ast
import hashlib
import inspect
import textwrap
import tomllib
from importlib.metadata import version
from pathlib import Path

from aiohttp import web, web_protocol, web_runner, web_server

from gateway.http.server import AIOHTTP_VERSION

ROOT = Path(__file__).parents[2]
SOURCES = (
    web_protocol._ErrInfo,
    web_protocol.RequestHandler.__init__,
    web_protocol.RequestHandler.data_received,
    web_protocol.RequestHandler.pause_reading,
    web_protocol.RequestHandler.resume_reading,
    web_protocol.RequestHandler.start,
    web_protocol.RequestHandler.finish_response,
    web_protocol.RequestHandler.handle_error,
    web_protocol.RequestHandler.log_exception,
    web_server.Server.__init__,
    web_server.Server.__call__,
    web_runner.AppRunner._make_server,
)
READ = "c61f065d48aad323c8b97227ad835833840348b9ee8deb5bcea10e473ecbae39"
"""The digest of the private source that `gateway/http/server.py` was written against."""


def test_version_is_the_one_whose_source_was_read() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"aiohttp=={AIOHTTP_VERSION}" in project["dependencies"]
    assert version("aiohttp") == AIOHTTP_VERSION


def test_private_source_is_unchanged() -> None:
    digest = hashlib.sha256("".join(inspect.getsource(one) for one in SOURCES).encode()).hexdigest()
    assert digest == READ, f"read the changed source, adapt gateway/http/server.py, then set READ to {digest}"


def test_only_the_server_module_uses_private_parts() -> None:
    public = set(dir(web.Request)) | set(dir(web.Application))
    private = {
        name
        for one in (web_protocol.RequestHandler, web_server.Server, web_runner.AppRunner)
        for name in (*dir(one), *getattr(one, "__slots__", ()), *_assigned_in(one.__init__))
        if name.startswith("_") and not name.startswith("__")
    } - public
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} uses {node.attr}"
        for path in (ROOT / "gateway").rglob("*.py")
        if path.name != "server.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in private
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    ]
    assert wrong == []


def _assigned_in(function: object) -> set[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))  # type: ignore[arg-type]
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
