"""`ovnpay doctor`: prints the findings of every check."""

import json
import sys

from rich.console import Console
from rich.text import Text

from shared.cli.operator.environment import operator_environment
from shared.operations.doctor.checkup import has_no_failures, run_checks
from shared.operations.doctor.finding import Finding, Level

LEVEL_COLORS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def run_doctor(*, as_json: bool) -> None:
    """Print findings as they are made; exit with 0 if no check fails, else 1."""
    findings = []
    console = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    for finding in run_checks(operator_environment()):
        findings.append(finding)
        if not as_json:
            _print_finding(console, finding)
    is_healthy = has_no_failures(findings)
    if as_json:
        items = [
            {"level": item.level, "part": item.part, "says": item.message, "mend": item.remedy} for item in findings
        ]
        print(json.dumps({"healthy": is_healthy, "findings": items}, indent=2))
    else:
        counts = {level: sum(item.level is level for item in findings) for level in Level}
        console.print(
            f"The installation is {'healthy' if is_healthy else 'not healthy'}: {counts[Level.OK]} ok, "
            f"{counts[Level.WARN]} warnings, {counts[Level.FAIL]} failures."
        )
    raise SystemExit(0 if is_healthy else 1)


def _print_finding(console: Console, finding: Finding) -> None:
    line = Text.assemble((f"{finding.level:4}", LEVEL_COLORS[finding.level]), f"  {finding.part}: {finding.message}")
    console.print(line)
    if finding.remedy:
        console.print(Text(f"      → {finding.remedy}", "bold"))
