"""The workers' process: what has to be so before Dramatiq is imported."""

import subprocess
import sys


def test_a_doorbell_is_heard_within_milliseconds() -> None:
    """Dramatiq reads how often an idle consumer looks when it is imported; by default each second."""
    code = "import workers.__main__, dramatiq.worker; print(dramatiq.worker.WORKER_TIMEOUT)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "25\n"
