"""The Prometheus rules, their tests and the Grafana dashboards of deploy/, loaded."""

import json
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = {path.stem: yaml.safe_load(path.read_text()) for path in (DEPLOY / "prometheus" / "rules").glob("*.yml")}
TESTS = [yaml.safe_load(path.read_text()) for path in (DEPLOY / "prometheus" / "tests").glob("*.yml")]
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
EVERY_RULE = [rule for file in RULES.values() for group in file["groups"] for rule in group["rules"]]
