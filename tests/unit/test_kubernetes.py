"""The Kubernetes base satisfies the rules, and each rule finds what violates it.

`make manifests` checks the overlays and the schemas.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks.kubernetes_rules import SECRET_KEYS, Document, findings, name_of, of_kind

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"


def base() -> list[Document]:
    """Load the documents of the base."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    files = kustomization["resources"]
    assert sorted(path.name for path in BASE.glob("*.yaml")) == sorted([*files, "kustomization.yaml"])
    return [one for name in files for one in yaml.safe_load_all((BASE / name).read_text())]


def test_base_satisfies_the_rules() -> None:
    documents = base()
    assert findings(documents) == []
    pools = {one["metadata"]["name"] for one in of_kind(documents, "ScaledObject")}
    kinds = ("instant", "standard", "provider-events", "customer-events", "batches")
    assert pools == {f"workers-{name}" for name in kinds}


def test_each_worker_manifest_says_why_it_is_never_scaled_to_zero() -> None:
    for path in BASE.glob("workers-*.yaml"):
        assert "# Never to zero: " in path.read_text()


def test_readme_creates_every_secret() -> None:
    readme = (BASE.parent / "README.md").read_text()
    for name, keys in SECRET_KEYS.items():
        assert f"create secret generic {name}" in readme
        for key in keys:
            assert f"--from-file={key}=" in readme


CONTAINER = "spec template spec containers 0"
VOLUME = "spec template spec volumes 0 secret secretName"
BROKEN: dict[str, tuple[str, str, Any, str]] = {
    "scaled to zero": ("ScaledObject workers-instant", "spec minReplicaCount", 0, "scaled to zero"),
    "killed while it drains": (
        "Deployment workers-batches", "spec template spec terminationGracePeriodSeconds", 30, "is killed after"),
    "a queue without a pool": ("Deployment workers-standard", f"{CONTAINER} args 2", "payouts", "the pools consume"),
    "liveness that depends on the database": (
        "Deployment gateway", f"{CONTAINER} livenessProbe httpGet path", "/health", "livenessProbe"),
    "a misspelled setting": ("ConfigMap ovnpay-settings", "data OVNPAY_LOG_LEVLE", "info", "is not a setting"),
    "a secret that does not exist": ("Deployment gateway", VOLUME, "ovnpay", "does not name a file"),
    "the owner's password in a service": ("Deployment scheduler", VOLUME, "ovnpay-owner", "the tables' owner"),
    "a budget that protects nothing": ("PodDisruptionBudget gateway", "spec selector matchLabels a", "b", "budgets"),
    "a service without pods": ("Service gateway", "spec selector a", "b", "selects no pod"),
    "access to the metadata service": (
        "NetworkPolicy out", "spec egress 0 to 0 ipBlock except", [], "metadata service"),
    "root": ("Deployment exporter", "spec template spec securityContext runAsUser", 0, "as root"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_violation_is_found(name: str) -> None:
    target, path, value, sentence = BROKEN[name]
    documents = base()
    place: Any = next(one for one in documents if name_of(one) == target)
    *steps, last = path.split()
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    place[int(last) if isinstance(place, list) else last] = value
    assert [one for one in findings(documents) if sentence in one]
