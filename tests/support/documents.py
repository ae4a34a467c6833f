"""The documents that tell people what to type: their fenced blocks, `ovnpay` commands and API routes."""

import re
import shlex
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import typer

from shared.cli.main import app

ROOT: Final = Path(__file__).parents[2]
RUNBOOKS: Final = {path.name: path for path in sorted((ROOT / "deploy" / "runbooks").glob("*.md"))}
DOCUMENTS: Final = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "gateway" / "README.md",
        ROOT / "shared" / "README.md",
        ROOT / "shared" / "cli" / "README.md",
        ROOT / "deploy" / "README.md",
        ROOT / "deploy" / "kubernetes" / "README.md",
        *RUNBOOKS.values(),
    )
    if path.exists()
]
_FENCE: Final = re.compile(r"(?ms)^(?P<indent> *)```(?P<language>\w+) ?(?P<place>\w*)\n(?P<body>.*?)^(?P=indent)```$")
_ROOT_COMMAND: Final = typer.main.get_command(app)


class Block(NamedTuple):
    """A fenced block."""

    language: str
    place: str
    """Where it runs if not on every stack: `kubernetes`, `server`, ...; empty for everywhere."""
    body: str


def fenced_blocks(path: Path) -> list[Block]:
    """Return the blocks of a document in order."""
    return [
        Block(match["language"], match["place"], re.sub(rf"(?m)^{match['indent']}", "", match["body"]))
        for match in _FENCE.finditer(path.read_text())
    ]


def ovnpay_commands(path: Path) -> list[list[str]]:
    """Return the words after `ovnpay` of every command in fenced blocks and between backticks."""
    text = path.read_text()
    lines = [line for block in fenced_blocks(path) if block.language == "sh" for line in block.body.splitlines()]
    lines += re.findall(r"`(ovnpay [^`]+)`", _FENCE.sub("", text))
    commands = (re.search(r"(?:^|[ /])ovnpay ([^|;&<>`]+)", line.strip()) for line in lines)
    return [shlex.split(match[1], comments=True) for match in commands if match and "alias" not in match.string]


def unknown_word(words: list[str]) -> str | None:
    """Return the first word that `ovnpay` would reject; None if it accepts all."""
    command: Any = _ROOT_COMMAND
    rest, positional = list(words), 0
    while rest:
        word = rest.pop(0)
        subcommands = getattr(command, "commands", {})
        if word in subcommands:
            command, positional = subcommands[word], 0
        elif word.startswith("-"):
            if command.context_settings.get("ignore_unknown_options") or word == "--help":
                continue
            name, has_value, _ = word.partition("=")
            option = next((one for one in command.params if name in (*one.opts, *one.secondary_opts)), None)
            if option is None:
                return word
            if not has_value and not option.is_flag and rest:
                rest.pop(0)
        elif subcommands or not _accepts_argument(command, positional):
            return word
        else:
            positional += 1
    return None


def _accepts_argument(command: click.Command, positional: int) -> bool:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    return (
        positional < len(arguments)
        or any(one.nargs == -1 for one in arguments)
        or bool(command.context_settings.get("allow_extra_args"))
    )


def named_routes(path: Path) -> set[tuple[str, str]]:
    """Return every (method, path) that a document names as `GET|POST /path`."""
    methods = "GET|POST|PUT|PATCH|DELETE"
    found = re.findall(rf"\b((?:{methods})(?:\\?\|(?:{methods}))*) (/[^\s`,;)]*)", path.read_text())
    return {
        (method, target.partition("?")[0].rstrip("."))
        for names, target in found
        for method in re.findall(methods, names)
    }
