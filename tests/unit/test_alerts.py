"""Alerts, their tests, runbooks and dashboards fit together; whether the rules work, `make alerts` says."""

import re
from typing import Any

import pytest
import yaml

from tests.support.monitoring import DASHBOARDS, DEPLOY, EVERY_RULE, TESTS

ALERTS = {rule["alert"]: rule for rule in EVERY_RULE if "alert" in rule}
PAGES = {name: rule for name, rule in ALERTS.items() if rule["labels"]["severity"] == "page"}
SLOS = {rule["labels"]["slo"] for rule in EVERY_RULE if rule.get("record") == "ovnpay:slo_objective:ratio"}
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")


BEGUN_BY_PEOPLE = {"README.md", "pause-outgoing-money.md", "backup-and-restore.md", "rotate-keys.md"}
"""Runbooks that no alert names."""


def sections(runbook: str) -> dict[str, str]:
    """The sections of a runbook by their anchors."""
    parts = re.split(r"(?m)^## (.+)$", (DEPLOY.parent / runbook).read_text())
    return {heading.strip().lower(): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def runbooks_of(alert: Any) -> list[str]:
    """Where an alert sends whoever it wakes, for each promise that it may name."""
    url = alert["annotations"]["runbook_url"]
    return [url.replace("{{ $labels.slo }}", slo) for slo in SLOS] if "{{" in url else [url]


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_an_alert_says_how_urgent_it_is_and_in_a_sentence_what_is_wrong(name: str) -> None:
    alert = ALERTS[name]
    assert set(alert["labels"]) == {"severity"}
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["annotations"]["summary"].endswith((".", "?"))


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_names_a_runbook_that_says_what_to_do(name: str) -> None:
    for where in runbooks_of(PAGES[name]):
        file, _, anchor = where.partition("#")
        section = sections(file)[anchor]
        said = re.split(r"(?m)^### (.+)$", section)
        parts = dict(zip(said[1::2], said[2::2], strict=True))
        assert list(parts) == ["Look at", "Type", "Call somebody when"], where
        assert all(len(text.strip()) > 10 for text in parts.values()), where
        assert re.search(r"(?m)^    \S", parts["Type"]), f"{where} has nothing to type"


def test_no_section_of_a_runbook_is_left_over() -> None:
    named = {where for alert in PAGES.values() for where in runbooks_of(alert)}
    files = [path for path in (DEPLOY / "runbooks").glob("*.md") if path.name not in BEGUN_BY_PEOPLE]
    there = {f"deploy/runbooks/{path.name}#{one}" for path in files for one in sections(f"deploy/runbooks/{path.name}")}
    assert there == named
    assert all(f"({path.name})" in (DEPLOY / "runbooks" / "README.md").read_text() for path in files)


def test_each_alert_is_tested_silent_firing_and_silent_again() -> None:
    seen: dict[str, list[list[int]]] = {}
    for file in TESTS:
        for story in file["tests"]:
            asked = story["promql_expr_test"]
            [name] = {re.findall(r'alertname="(\w+)"', one["expr"])[0] for one in asked}
            seen.setdefault(name, []).append([one["exp_samples"][0]["value"] for one in asked])
    assert set(seen) == set(ALERTS)
    assert all(values == [0, 1, 0] for stories in seen.values() for values in stories)


def test_each_promise_has_all_windows_and_is_tested() -> None:
    recorded = {(rule["record"], rule["labels"]["slo"]) for rule in EVERY_RULE if "slo" in rule.get("labels", {})}
    assert len(SLOS) == 5
    assert {(f"ovnpay:slo_errors:ratio_rate{window}", slo) for window in WINDOWS for slo in SLOS} <= recorded
    stories = " ".join(story["name"] for file in TESTS for story in file["tests"])
    assert all(f"BudgetBurnsFast ({slo})" in stories for slo in SLOS)


def test_dashboards_can_be_loaded() -> None:
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
            for asked in (panel, *panel["targets"]):
                assert asked["datasource"]["uid"] in uids, panel["title"]
            assert all(target["expr"] for target in panel["targets"]), panel["title"]


def _cells(place: Any) -> list[tuple[int, int]]:
    assert place["x"] + place["w"] <= 24
    return [
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    ]


def test_recorded_series_that_are_asked_for_are_recorded() -> None:
    recorded = {rule["record"] for rule in EVERY_RULE if "record" in rule}
    asked = [rule["expr"] for rule in EVERY_RULE]
    asked += [target["expr"] for one in DASHBOARDS.values() for panel in one["panels"] for target in panel["targets"]]
    assert {name for expression in asked for name in re.findall(r"ovnpay:[\w:]+", expression)} <= recorded
