"""Check that names and prose use the field's standard terms: `python -m deploy.checks.words [FILE ...]`.

Reads docstrings, comments and string literals of Python files, and the text of documents, alerts and manifests. Text in
backticks is skipped in documents: it names something. Identifiers are checked for the words that no name may contain.
Without arguments it reads every file that git tracks. Exit code: 0 no findings, 1 findings, one line each.
"""

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PROJECT = Path(__file__).resolve().parents[2]

PROSE: Final = {
    r"(?:door)?bells?": "wake-up, message",
    r"r[iua]ngs?|ringing": "enqueue",
    r"whoever|somebody|nobody|everybody": "the caller, the client, the operator, a person, no one",
    r"he|him|his|himself": "they, the driver, the process",
    r"those who|as may be|for good|by which": "rewrite the sentence",
    r"so that": "so, to, because; or two sentences",
    r"(?:is|are|was|were|be|been|being|has|have) told": "receives, is sent, is recorded",
    r"take(?:s|n)? leave|vouch(?:es)?(?: for)?": "deregister; guard",
    r"departures?|departing|leav(?:e|es|ing) together": "dispatch, dispatch window",
    r"tall(?:y|ies)": "counters",
    r"verdicts?": "outcome, classification",
    r"strangers?": "fake provider, third party",
    r"portions?": "slice",
    r"laws?": "invariant",
    r"seats?": "reserved threads",
    r"overhears?|(?:un)?hear[ds]?|hearing": "receive, consume, listen",
    r"doorkeepers?|word of it|leaves? word": "rewrite the sentence",
    r"prov(?:e|es|ed|en|ing)|proofs?": "check",
}
"""Private words in prose, as patterns for whole words in any case, and what to write instead."""

NAMES: Final = re.compile(
    r"(?i)doorbell|(?<![a-z])bells?(?![a-z])|whoever|somebody|nobody|departure|verdict|stranger|(?<![a-z])tally|vouch"
    r"|(?<![a-z])laws?(?![a-z])|(?<![a-z])rung(?![a-z])|crash_?point"
)
"""Private words that no identifier may contain."""

ALLOWED: Final = {
    ("deploy/checks/words.py", None): "the list itself",
    ("tests/unit/test_words.py", None): "examples",
    ("CHANGELOG.md", None): "names old and new words",
    ("shared/schema/migrations/versions/", None): "history: applied migrations keep their text",
    ("deploy/local/postgres.py", "nobody"): "a user of the operating system",
    ("tests/pooler/test_pgbouncer.py", "nobody"): "a user of the operating system",
    ("LICENSE", None): "the license's own text",
    ("tests/contract/samples.json", None): "the API reference's own text",
    ("shared/cli/operator/verify.py", "law"): "a field of the document that `ovnpay verify --json` prints",
}
"""(file or folder, word or None for every word) → the reason."""

_RULES: Final = [(re.compile(rf"(?i)(?<![\w-])(?:{pattern})(?![\w-])"), hint) for pattern, hint in PROSE.items()]
_DOCUMENTS: Final = {".md", ".yml", ".yaml", ".sh", ".toml", ".cfg", ".txt", ".json"}
_CODE: Final = re.compile(r"(?s)```.*?```|``[^`]*``|`[^`\n]*`|<!--.*?-->")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Check that names and prose use the field's standard terms.")
    parser.add_argument("files", nargs="*", type=Path, help="files to read (default: every file that git tracks)")
    options = parser.parse_args(arguments)
    findings = [
        f"{path.relative_to(_PROJECT)}:{line}: {text!r}: {hint}"
        for path in (path.resolve() for path in options.files or tracked_files())
        for line, text, hint in find(path)
    ]
    print("\n".join([*findings, f"words: {len(findings)} findings"]))
    return int(bool(findings))


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=_PROJECT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.split("\0") if name and (path := _PROJECT / name).is_file()]


def find(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the private words of a file: line, word, what to write instead."""
    name = str(path.relative_to(_PROJECT))
    allowed = {word for (where, word) in ALLOWED if name == where or (where.endswith("/") and name.startswith(where))}
    if None in allowed:
        return
    if path.suffix == ".py":
        found = [*_find_in_prose(_python_prose(path.read_text())), *_find_in_names(path.read_text())]
    elif path.suffix in _DOCUMENTS or path.name in {"Makefile", "Dockerfile"}:
        text = _CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), path.read_text())
        found = list(_find_in_prose(enumerate(text.splitlines(), 1)))
    else:
        return
    yield from (one for one in found if one[1].lower() not in allowed)


def _find_in_prose(lines: "Iterator[tuple[int, str]] | enumerate[str]") -> Iterator[tuple[int, str, str]]:
    for number, text in lines:
        for rule, hint in _RULES:
            for match in rule.finditer(text):
                yield number, match[0], hint


def _python_prose(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            text = re.sub(r"`[^`\n]*`", "", token.string)
            for offset, line in enumerate(text.splitlines()):
                yield token.start[0] + offset, line


def _find_in_names(source: str) -> Iterator[tuple[int, str, str]]:
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "name", None) or getattr(node, "arg", None) or getattr(node, "id", None)
        if isinstance(name, str) and (match := NAMES.search(name)):
            yield getattr(node, "lineno", 0), name, f"a name without {match[0]!r}"


if __name__ == "__main__":
    sys.exit(main())
