"""The check of words: it finds private words, and the tree has none. Docstrings stay short."""

import ast
from pathlib import Path

import pytest

from deploy.checks import words

DOCSTRING_WORDS_MAX = 32_000


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Rings the doorbell."""', ["Rings", "doorbell"]),
        ("x = 1  # whoever asks", ["whoever"]),
        ('raise ValueError("nobody is told")', ["nobody", "is told"]),
        ("def law_of(x): ...", ["law_of"]),
        ('"""The string, and `nobody` as a name."""', []),
    ],
)
def test_private_words_are_found(
    source: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(words, "_PROJECT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(source + "\n")
    assert sorted(word for _, word, _ in words.find(path)) == sorted(found)


def test_documents_are_read_without_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_PROJECT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text("Nobody reads `nobody`.\n\n```sh\nring\n```\n")
    assert [(line, word) for line, word, _ in words.find(path)] == [(1, "Nobody")]


def test_docstrings_of_the_product_stay_short() -> None:
    """At most 32,000 words: the whole must be readable, so each thing is said once."""
    words_in_docstrings = 0
    for folder in ("shared", "gateway", "workers", "scheduler", "deploy"):
        for path in (Path(__file__).parents[2] / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    words_in_docstrings += len((ast.get_docstring(node) or "").split())
    assert words_in_docstrings <= DOCSTRING_WORDS_MAX


def test_tree_has_no_private_words() -> None:
    found = [
        f"{path}:{line}: {word!r}: {hint}" for path in words.tracked_files() for line, word, hint in words.find(path)
    ]
    assert found == []
