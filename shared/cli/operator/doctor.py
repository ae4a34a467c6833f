"""`ovnpay doctor`: prints what the doctor finds, worst where one looks last."""

import json
import sys

from rich.console import Console
from rich.text import Text

from shared.operations.doctor.checkup import has_no_failures, run_checks
from shared.operations.doctor.finding import Finding, Level

LEVEL_COLORS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def run_doctor(*, as_json: bool) -> None:
    """Exits with 0 if nothing fails, 1 if something does."""
    findings = []
    console = Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())
    for finding in run_checks():
        findings.append(finding)
        if not as_json:
            _print(console, finding)
    well = has_no_failures(findings)
    if as_json:
        lines = [{"level": one.level, "part": one.part, "says": one.says, "mend": one.mend} for one in findings]
        print(json.dumps({"healthy": well, "findings": lines}, indent=2))
    else:
        counts = {level: sum(one.level is level for one in findings) for level in Level}
        verdict = "The installation is well" if well else "The installation is not well"
        console.print(
            f"{verdict}: {counts[Level.OK]} ok, {counts[Level.WARN]} to look at, {counts[Level.FAIL]} failing."
        )
    raise SystemExit(0 if well else 1)


def _print(console: Console, finding: Finding) -> None:
    line = Text.assemble((f"{finding.level:4}", LEVEL_COLORS[finding.level]), f"  {finding.part}: {finding.says}")
    console.print(line)
    if finding.mend:
        console.print(Text(f"      → {finding.mend}", "bold"))
