"""Can every option come from the command line and from the environment?"""

from pathlib import Path

import pytest

from deploy.simulator.options import Options, read_options


def test_without_anything_the_defaults_hold() -> None:
    assert read_options([], {}) == Options()


def test_environment_and_command_line() -> None:
    # Given an environment that sets options of each type
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
    # Then the command line wins, and the rest is the environment's
    assert (options.port, options.record, options.control) == (0, Path("somewhere/paystream.db"), False)
    assert options.webhook_events == ("payment.completed", "payment.failed")
    assert (options.rtp_seconds, options.webhook_url) == (2.0, None)


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """As Docker mounts it; one that is not there is refused, and not quietly the default."""
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
def test_wrong_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_options(arguments, {})
    assert "error:" in capsys.readouterr().err
