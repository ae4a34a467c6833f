"""Operator commands use the environment, else the settings of the local stack."""

import json
from pathlib import Path

import pytest

from shared.cli.operator.environment import load_operator_settings, operator_environment

SETTINGS = {
    "OVNPAY_DATABASE_URL": "postgresql://stack/db",
    "OVNPAY_REDIS_URL": "redis://stack",
    "OVNPAY_LOG_LEVEL": "debug",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a stack and without settings in the environment."""
    (tmp_path / ".ovnpay").mkdir()
    stack = {"settings": SETTINGS, "database_url": "postgresql://owner/db"}
    (tmp_path / ".ovnpay" / "stack.json").write_text(json.dumps(stack))
    for name in (*SETTINGS, "OVNPAY_HOME", "OVNPAY_DATABASE_URL_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_settings_of_local_stack_are_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert operator_environment().items() >= SETTINGS.items()
    assert capsys.readouterr().err == f"using the local stack in {folder / '.ovnpay'}\n"


def test_owner_of_the_tables_is_used_only_where_asked_for(folder: Path) -> None:
    assert load_operator_settings().migration_database_url == ""
    assert load_operator_settings(as_owner=True).migration_database_url == "postgresql://owner/db"


def test_variable_of_the_environment_takes_precedence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVNPAY_LOG_LEVEL", "error")
    (folder / "redis").write_text("redis://file")
    monkeypatch.setenv("OVNPAY_REDIS_URL_FILE", str(folder / "redis"))
    settings = load_operator_settings()
    assert (settings.log_level, settings.redis_url) == ("error", "redis://file")


def test_database_of_the_environment_excludes_the_local_stack(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OVNPAY_DATABASE_URL", "postgresql://given/db")
    assert "OVNPAY_REDIS_URL" not in operator_environment()
    assert capsys.readouterr().err == ""


def test_without_environment_and_stack_the_message_names_both(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".ovnpay" / "stack.json").unlink()
    with pytest.raises(SystemExit, match="2"):
        load_operator_settings()
    message = capsys.readouterr().err
    assert "OVNPAY_DATABASE_URL" in message
    assert "ovnpay up" in message
