"""The README's commands, pasted one after another into a shell, pay a driver."""

import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", ["README.md", "gateway/README.md"])
def test_the_three_commands_of_the_readme_pay_a_driver(stack: Stack, document: str) -> None:
    """Given the running system, when the three blocks are pasted, then the payout is completed and shown."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
    assert len(blocks) == 3
    script = "\n".join(blocks).replace(".ovnpay/", f"{stack.home}/")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert '"status":"completed"' in done.stdout, (done.stdout, done.stderr)
    assert '"netAmount":44750' in done.stdout
    assert '"inTransit":' in done.stdout


def test_start_prints_the_address_of_the_documentation(stack: Stack) -> None:
    [address] = re.findall(r"docs +(http\S+/docs)", stack.output())
    with urllib.request.urlopen(address) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(stack["gateway"] + "/") as answer:
        assert answer.url == address
