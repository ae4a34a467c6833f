"""SIGINT stops a command, also if its parent left the signal ignored, as a script's background job does."""

import os
import signal
import socket
import subprocess
import sys

import pytest

INTERRUPTED = 130


@pytest.mark.parametrize("parent", ["", "trap '' INT; "], ids=["usual parent", "parent ignores SIGINT"])
def test_sigint_stops_a_waiting_command(parent: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Given a command that waits for the answer of a server
        environment = os.environ | {
            "OVNPAY_API_URL": f"http://127.0.0.1:{server.getsockname()[1]}",
            "OVNPAY_API_KEY": "ovnp_sbox_test",
        }
        command = f"{parent}exec {sys.executable} -m shared.cli balance"
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            server.settimeout(30)
            connection, _ = server.accept()
            with connection:
                # When it receives SIGINT
                process.send_signal(signal.SIGINT)
                # Then it ends at once
                assert process.wait(10) == INTERRUPTED
        finally:
            process.kill()
            process.wait()
