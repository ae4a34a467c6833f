"""Check the Prometheus rules with promtool and run their tests: each alert is silent, fires, and is silent again.

The test suite checks what needs no promtool: that each alert has a runbook, a rule test and metrics that exist.
Exit code: 0 passed, 1 failed, 3 with --strict if promtool is missing.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from deploy.checks.prometheus import find_program

_FOLDER = Path(__file__).resolve().parents[1] / "prometheus"


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the Prometheus rules and run their tests.")
    parser.add_argument("--strict", action="store_true", help="fail if promtool is missing")
    options = parser.parse_args()
    promtool = find_program("promtool")
    if promtool is None:
        print("alerts: NOT CHECKED: promtool is missing")
        return 3 if options.strict else 0
    tests = sorted((_FOLDER / "tests").glob("*.yml"))
    runs = [
        subprocess.run([promtool, *arguments], cwd=_FOLDER, capture_output=True, text=True, check=False)
        for arguments in (["check", "config", "prometheus.yml"], ["test", "rules", *map(str, tests)])
    ]
    for run in runs:
        if run.returncode:
            print(run.stdout, run.stderr, sep="\n", file=sys.stderr)
    rules = sum(map(int, re.findall(r"(\d+) rules found", runs[0].stdout)))
    cases = sum(path.read_text().count("\n  - name: ") for path in tests)
    failed = any(run.returncode for run in runs)
    outcome = "FAILED" if failed else "passed"
    print(f"alerts: promtool: {rules} rules checked, {cases} rule tests in {len(tests)} files: {outcome}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
