"""The Kubernetes base: does what its manifests say of each other hold, and would the rules notice if it did not?

The overlays, as kustomize makes them, and the schemas are asked by `make manifests`.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks.kubernetes_rules import SECRET_KEYS, Document, findings, name_of, of_kind

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"


def base() -> list[Document]:
    """What the base is made of, with the labels that kustomize adds to everything."""
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    files = kustomization["resources"]
    assert sorted(path.name for path in BASE.glob("*.yaml")) == sorted([*files, "kustomization.yaml"])
    return [one for name in files for one in yaml.safe_load_all((BASE / name).read_text())]


def test_the_base_holds_together() -> None:
    """Selectors select, secrets and settings exist, pods end before they are killed, queues are heard."""
    documents = base()
    assert findings(documents) == []
    pools = {one["metadata"]["name"] for one in of_kind(documents, "ScaledObject")}
    kinds = ("instant", "standard", "provider-events", "customer-events", "batches")
    assert pools == {f"workers-{name}" for name in kinds}


def test_why_a_pool_is_never_scaled_to_zero_stands_beside_it() -> None:
    """In each manifest, where somebody would change it."""
    for path in BASE.glob("workers-*.yaml"):
        assert "# Never to zero: " in path.read_text()


def test_the_readme_makes_every_secret() -> None:
    """That the manifests mount, by their names."""
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
    "a queue that nobody hears": ("Deployment workers-standard", f"{CONTAINER} args 2", "payouts", "the pools hear"),
    "life depends on the database": (
        "Deployment gateway", f"{CONTAINER} livenessProbe httpGet path", "/health", "livenessProbe"),
    "a setting with a slip": ("ConfigMap ovnpay-settings", "data OVNPAY_LOG_LEVLE", "info", "is no setting"),
    "a secret that nobody makes": ("Deployment gateway", VOLUME, "ovnpay", "names no file"),
    "the owner's password in a service": ("Deployment scheduler", VOLUME, "ovnpay-owner", "the tables' owner"),
    "a budget that protects nothing": ("PodDisruptionBudget gateway", "spec selector matchLabels a", "b", "budgets"),
    "a service without pods": ("Service gateway", "spec selector a", "b", "selects no pod"),
    "the way to the metadata service": (
        "NetworkPolicy out", "spec egress 0 to 0 ipBlock except", [], "metadata service"),
    "root": ("Deployment exporter", "spec template spec securityContext runAsUser", 0, "as root"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_noticed(name: str) -> None:
    """A rule that finds nothing proves nothing unless it would have."""
    wanted, path, value, said = BROKEN[name]
    documents = base()
    place: Any = next(one for one in documents if name_of(one) == wanted)
    *steps, last = path.split()
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    place[int(last) if isinstance(place, list) else last] = value
    assert [one for one in findings(documents) if said in one]
