"""Alerts, their rule tests, runbooks and dashboards are consistent. `make alerts` tests the rules themselves."""

import re
from typing import Any

import pytest
import yaml

from tests.support.monitoring import DASHBOARDS, DEPLOY, EVERY_RULE, TESTS

ALERTS = {rule["alert"]: rule for rule in EVERY_RULE if "alert" in rule}
PAGES = {name: rule for name, rule in ALERTS.items() if rule["labels"]["severity"] == "page"}
SLOS = {rule["labels"]["slo"] for rule in EVERY_RULE if rule.get("record") == "ovnpay:slo_objective:ratio"}
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")


WITHOUT_ALERT = {"README.md", "troubleshoot.md", "pause-outgoing-money.md", "backup-and-restore.md", "rotate-keys.md"}
"""Runbooks that no alert links."""


def sections(runbook: str) -> dict[str, str]:
    """Return a runbook's sections by anchor."""
    parts = re.split(r"(?m)^## (.+)$", (DEPLOY.parent / runbook).read_text())
    return {heading.strip().lower(): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def runbooks_of(alert: Any) -> list[str]:
    """Return the runbook links of an alert, one for each objective if it has a label `slo`."""
    url = alert["annotations"]["runbook_url"]
    return [url.replace("{{ $labels.slo }}", slo) for slo in SLOS] if "{{" in url else [url]


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_alert_has_severity_summary_and_first_action(name: str) -> None:
    alert = ALERTS[name]
    assert set(alert["labels"]) == {"severity"}
    assert alert["labels"]["severity"] in ("page", "ticket")
    for text in ("summary", "description"):
        assert alert["annotations"][text].endswith((".", "?")), text


@pytest.mark.parametrize("name", sorted(PAGES))
def test_page_links_a_complete_runbook_section(name: str) -> None:
    for where in runbooks_of(PAGES[name]):
        file, _, anchor = where.partition("#")
        section = sections(file)[anchor]
        split = re.split(r"(?m)^### (.+)$", section)
        parts = dict(zip(split[1::2], split[2::2], strict=True))
        assert list(parts) == ["Check", "Run", "Escalate"], where
        assert all(len(text.strip()) > 10 for text in parts.values()), where
        assert "```" in parts["Run"], f"{where} has no command"


def test_each_runbook_section_has_its_alert() -> None:
    linked = {where for alert in PAGES.values() for where in runbooks_of(alert)}
    files = [path for path in (DEPLOY / "runbooks").glob("*.md") if path.name not in WITHOUT_ALERT]
    names = [f"deploy/runbooks/{path.name}" for path in files]
    existing = {f"{name}#{anchor}" for name in names for anchor in sections(name)}
    assert existing == linked
    assert all(f"({path.name})" in (DEPLOY / "runbooks" / "README.md").read_text() for path in files)


def test_each_alert_has_a_rule_test_silent_firing_and_silent_again() -> None:
    seen: dict[str, list[list[int]]] = {}
    for file in TESTS:
        for case in file["tests"]:
            queries = case["promql_expr_test"]
            [name] = {re.findall(r'alertname="(\w+)"', query["expr"])[0] for query in queries}
            seen.setdefault(name, []).append([query["exp_samples"][0]["value"] for query in queries])
    assert set(seen) == set(ALERTS)
    assert all(values == [0, 1, 0] for cases in seen.values() for values in cases)


def test_each_objective_has_all_windows_and_a_rule_test() -> None:
    recorded = {(rule["record"], rule["labels"]["slo"]) for rule in EVERY_RULE if "slo" in rule.get("labels", {})}
    assert len(SLOS) == 5
    assert {(f"ovnpay:slo_errors:ratio_rate{window}", slo) for window in WINDOWS for slo in SLOS} <= recorded
    names = " ".join(case["name"] for file in TESTS for case in file["tests"])
    assert all(f"BudgetBurnsFast ({slo})" in names for slo in SLOS)


def test_dashboards_are_valid() -> None:
    assert len(DASHBOARDS) == 8
    assert len({one["uid"] for one in DASHBOARDS.values()}) == 8
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    uids = {one["uid"] for one in provisioned["datasources"]}
    for name, dashboard in DASHBOARDS.items():
        panels = dashboard["panels"]
        assert dashboard["title"], name
        assert dashboard["schemaVersion"] >= 39, name
        assert len({panel["id"] for panel in panels}) == len(panels) > 5, name
        cells = [cell for panel in panels for cell in _cells(panel["gridPos"])]
        assert len(cells) == len(set(cells)), f"panels of {name} overlap"
        for panel in panels:
            assert panel["type"] in ("timeseries", "stat"), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            references = [target["refId"] for target in panel["targets"]]
            assert len(references) == len(set(references)) > 0, panel["title"]
            for query in (panel, *panel["targets"]):
                assert query["datasource"]["uid"] in uids, panel["title"]
            assert all(target["expr"] for target in panel["targets"]), panel["title"]


def _cells(position: Any) -> list[tuple[int, int]]:
    left, top, width, height = (position[name] for name in "xywh")
    assert left + width <= 24
    return [(x, y) for x in range(left, left + width) for y in range(top, top + height)]


def test_recorded_series_that_are_queried_exist() -> None:
    recorded = {rule["record"] for rule in EVERY_RULE if "record" in rule}
    queries = [rule["expr"] for rule in EVERY_RULE]
    queries += [target["expr"] for one in DASHBOARDS.values() for panel in one["panels"] for target in panel["targets"]]
    assert {name for query in queries for name in re.findall(r"ovnpay:[\w:]+", query)} <= recorded
