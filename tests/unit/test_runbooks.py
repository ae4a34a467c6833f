"""Runbooks: what they tell people to type can be typed, and the steps that people begin are told like the others."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from shared.cli.main import app

RUNBOOKS = Path(__file__).parents[2] / "deploy" / "runbooks"
FILES = {path.name: path.read_text() for path in RUNBOOKS.glob("*.md")}
BEGUN_BY_PEOPLE = ("pause-outgoing-money.md", "backup-and-restore.md", "rotate-keys.md")
ROOT = typer.main.get_command(app)


def named(text: str) -> list[list[str]]:
    """The words of every `ovnpay` command: lines to type, and those between backquotes."""
    lines = re.findall(r"(?m)^    (ovnpay .+)$", text) + re.findall(r"`(ovnpay [^`]+)`", text)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def unknown(words: list[str]) -> str | None:
    """The first word that the command line would not take; None where it takes all."""
    command: click.Command = ROOT
    for at, word in enumerate(words):
        inner = getattr(command, "commands", {})
        if word in inner:
            command = inner[word]
        elif word.startswith("--"):
            options = [name for one in command.params for name in (*one.opts, *one.secondary_opts)]
            if word.partition("=")[0] not in [*options, "--help"] and not command.context_settings.get(
                "ignore_unknown_options"
            ):
                return word
        elif inner and not words[at - 1].startswith("--"):
            return word
    return None


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_command_in_a_runbook_is_one(name: str) -> None:
    assert [" ".join(words) for words in named(FILES[name]) if unknown(words)] == []


def test_a_command_that_there_is_not_is_seen() -> None:
    """Or the test above would prove nothing."""
    assert unknown(["outgoing"]) == "outgoing"
    assert unknown(["reconcile", "nonesuch"]) == "nonesuch"
    assert unknown(["pause", "--everything"]) == "--everything"
    assert unknown(["pause", "--list"]) is None
    assert unknown(["verify", "--no-freeze"]) is None


@pytest.mark.parametrize("name", BEGUN_BY_PEOPLE)
def test_steps_that_people_begin_say_what_to_look_at_to_type_and_whom_to_call(name: str) -> None:
    parts = re.split(r"(?m)^### (.+)$", FILES[name])
    assert parts[1::2] == ["Look at", "Type", "Call somebody when"]
    assert named(FILES[name])
    assert f"({name})" in FILES["README.md"]
