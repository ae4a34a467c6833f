"""Runbooks and READMEs name only commands, API routes and metrics that exist."""

import re
from pathlib import Path

import pytest

from gateway.routes import API_PREFIX, ROUTES
from tests.support.documents import (
    DOCUMENTS,
    ROOT,
    RUNBOOKS,
    fenced_blocks,
    named_routes,
    ovnpay_commands,
    unknown_word,
)

WITHOUT_ALERT = ("pause-outgoing-money.md", "backup-and-restore.md", "rotate-keys.md")
ROUTE_PATTERNS = [
    (route.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path.replace(".", r"\.")))) for route in ROUTES
]


def document_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def has_route(method: str, path: str) -> bool:
    """Return whether the gateway serves a path; documents may omit its prefix."""
    return any(
        method == known and (pattern.fullmatch(path) or pattern.fullmatch(f"{API_PREFIX}{path}"))
        for known, pattern in ROUTE_PATTERNS
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=document_id)
def test_every_documented_command_exists(document: Path) -> None:
    assert [" ".join(words) for words in ovnpay_commands(document) if unknown_word(words)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=document_id)
def test_every_documented_route_exists(document: Path) -> None:
    assert [route for route in sorted(named_routes(document)) if not has_route(*route)] == []


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_metric_of_a_runbook_exists(name: str) -> None:
    sources = [*(ROOT / "deploy" / "prometheus").rglob("*.yml")]
    sources += [
        path for folder in ("shared", "gateway", "workers", "scheduler") for path in (ROOT / folder).rglob("*.py")
    ]
    known = set(re.findall(r"\bovnpay_[a-z_]+", "\n".join(path.read_text() for path in sources)))
    text = re.sub(r"(?s)```.*?```", "", RUNBOOKS[name].read_text())
    named = set(re.findall(r"\bovnpay_[a-z_]+", text))
    assert {metric for metric in named if metric not in known and metric.removesuffix("_total") not in known} == set()


@pytest.mark.parametrize(
    ("words", "rejected"),
    [
        ("outgoing", "outgoing"),
        ("unfreeze --help", "unfreeze"),
        ("reconcile nonesuch", "nonesuch"),
        ("pause --everything", "--everything"),
        ("pause --reason x --organization", None),
        ("users list extra", "extra"),
        ("pause --list", None),
        ("verify --no-freeze", None),
        ("reconcile --since 2026-01-30", None),
        ("wallet unfreeze --all --reason fixed", None),
        ("workers --queues instant", None),
    ],
)
def test_unknown_command_or_option_is_found(words: str, rejected: str | None) -> None:
    assert unknown_word(words.split()) == rejected


def test_unknown_route_is_found() -> None:
    assert not has_route("POST", "/api/v1/keys/:id/regenerate")
    assert has_route("POST", "/developer/keys/:id/regenerate")


@pytest.mark.parametrize("name", WITHOUT_ALERT)
def test_planned_operation_has_the_three_parts_of_a_runbook(name: str) -> None:
    parts = re.split(r"(?m)^### (.+)$", RUNBOOKS[name].read_text())
    assert parts[1::2] == ["Check", "Run", "Escalate"]
    assert any(block.language == "sh" for block in fenced_blocks(RUNBOOKS[name]))
    assert f"({name})" in RUNBOOKS["README.md"].read_text()
