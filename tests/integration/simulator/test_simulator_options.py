"""Options come from the command line or the environment."""

from pathlib import Path

import pytest

from deploy.simulator.options import Options, read_options


def test_defaults() -> None:
    assert read_options([], {}) == Options()


def test_command_line_overrides_the_environment() -> None:
    # Given an environment with options of each type
    environ = {
        "PAYSTREAM_SIM_PORT": "0",
        "PAYSTREAM_SIM_RECORD": "somewhere/paystream.db",
        "PAYSTREAM_SIM_RTP_SECONDS": "0.05",
        "PAYSTREAM_SIM_WEBHOOK_EVENTS": "payment.completed,payment.failed",
        "PAYSTREAM_SIM_WEBHOOK_URL": "",
        "PAYSTREAM_SIM_CONTROL": "false",
    }
    # When the command line sets one of them too
    options = read_options(["--rtp-seconds", "2"], environ)
    # Then the command line wins, and the others come from the environment
    assert (options.port, options.record, options.control) == (0, Path("somewhere/paystream.db"), False)
    assert options.webhook_events == ("payment.completed", "payment.failed")
    assert (options.rtp_seconds, options.webhook_url) == (2.0, None)


def test_secret_is_read_from_a_file(tmp_path: Path) -> None:
    """As Docker mounts it. A missing file is an error."""
    (tmp_path / "key").write_text("psk_test_from_a_file\n")
    environ = {"PAYSTREAM_SIM_TEST_KEY_FILE": str(tmp_path / "key")}
    assert read_options([], environ).test_key == "psk_test_from_a_file"
    with pytest.raises(SystemExit):
        read_options([], {"PAYSTREAM_SIM_TEST_KEY_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port=-1"],
        ["--rtp-seconds=soon"],
        ["--webhook-events=payment.lost"],
        ["--webhook-url=nowhere"],
        ["--test-key=same", "--live-key=same"],
    ],
)
def test_invalid_options_are_rejected(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(arguments, {})
    assert "error:" in capsys.readouterr().err
