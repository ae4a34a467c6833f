"""Rules for the Kubernetes manifests that schemas can't express: how objects refer to each other.

`tests/unit/test_kubernetes.py` applies the rules to the base, `make manifests` to each overlay.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.operations import due_rows
from shared.platform.settings import Settings
from shared.platform.task_queue import QUEUES

Document = dict[str, Any]

DRAIN_SECONDS: Final = {"gateway": 10 + 8, "workers": 35, "scheduler": 30, "exporter": 5}
"""Seconds that each component needs to shut down: the gateway 10 after 8 of its preStop, workers as documented in
`ovnpay workers --help`, a scheduler the statement timeout of `shared/platform/database.py`."""
PORTS: Final = {"gateway": 9101, "workers": 9102, "scheduler": 9103, "exporter": 9104}
SECRET_KEYS: Final = {
    "ovnpay-secrets": {
        "database-url", "redis-url", "key-pepper", "paystream-test-key",
        "paystream-live-key", "paystream-webhook-secret",
    },
    "ovnpay-owner": {"database-url"},
}  # fmt: skip
"""The secrets to create by deploy/kubernetes/README.md."""
CUSTOM: Final = {"ServiceMonitor": "monitoring.coreos.com/v1", "ScaledObject": "keda.sh/v1alpha1"}
DUE_KINDS: Final = {kind.name: kind.task.queue for kind in (*due_rows.DUE_KINDS, due_rows.WEBHOOK_KIND)}


def findings(documents: Sequence[Document]) -> list[str]:
    rules = (
        _check_pods,
        _check_probes,
        _check_shutdown,
        _check_secrets_and_settings,
        _check_services,
        _check_disruption,
        _check_scaling,
        _check_network,
        _check_monitors,
    )
    return [finding for rule in rules for finding in rule(documents)]


def of_kind(documents: Sequence[Document], *kinds: str) -> list[Document]:
    return [one for one in documents if one["kind"] in kinds]


def name_of(document: Document) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def _template(workload: Document) -> Document:
    template: Document = workload["spec"]["template"]
    return template


def _labels(workload: Document) -> Mapping[str, str]:
    labels: Mapping[str, str] = _template(workload)["metadata"]["labels"]
    return labels


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def _component(workload: Document) -> str:
    return _labels(workload)["app.kubernetes.io/component"]


def _container(workload: Document) -> Document:
    container: Document = _template(workload)["spec"]["containers"][0]
    return container


def _check_pods(documents: Sequence[Document]) -> Iterator[str]:
    """Pods run hardened: unprivileged, read-only, without capabilities or token, with bounded memory."""
    for workload in of_kind(documents, "Deployment", "Job"):
        spec, container = _template(workload)["spec"], _container(workload)
        pod, own = spec["securityContext"], container["securityContext"]
        if not (pod["runAsNonRoot"] and pod["runAsUser"] > 0 and pod["seccompProfile"]["type"] == "RuntimeDefault"):
            yield f"{name_of(workload)} may run as root or without a seccomp profile"
        if own != {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }:
            yield f"{name_of(workload)} has a container that is not hardened"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name_of(workload)} mounts a Kubernetes API token that no service uses"
        if "memory" not in container["resources"].get("limits", {}) or "cpu" not in container["resources"]["requests"]:
            yield f"{name_of(workload)} has no memory limit or no CPU request"
        if workload["kind"] == "Deployment" and workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            yield f"{name_of(workload)} removes old pods before new ones are ready"
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        if mounts != {volume["name"] for volume in spec["volumes"]}:
            yield f"{name_of(workload)} has volumes that do not match its mounts"
    names = {one["metadata"]["name"] for one in of_kind(documents, "ServiceAccount")}
    if {_template(one)["spec"]["serviceAccountName"] for one in of_kind(documents, "Deployment", "Job")} - names:
        yield "a pod uses a service account that does not exist"


def _check_probes(documents: Sequence[Document]) -> Iterator[str]:
    """Probes use a port that the container has; only the scheduler's liveness depends on the database."""
    for workload in of_kind(documents, "Deployment"):
        container = _container(workload)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        if ports.get("metrics") != PORTS[_component(workload)]:
            yield f"{name_of(workload)} has its metrics on another port than its settings"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            target = container[probe]["httpGet"]
            if target["port"] not in ports:
                yield f"{name_of(workload)}: its {probe} uses a port that does not exist"
        if container["readinessProbe"]["httpGet"]["path"] != "/health/ready":
            yield f"{name_of(workload)} does not use /health/ready as its readinessProbe"
        path = container["livenessProbe"]["httpGet"]["path"]
        if path != ("/health" if _component(workload) == "scheduler" else "/health/live"):
            yield f"{name_of(workload)}: its livenessProbe uses {path}"


def _check_shutdown(documents: Sequence[Document]) -> Iterator[str]:
    for workload in of_kind(documents, "Deployment"):
        grace_seconds = _template(workload)["spec"]["terminationGracePeriodSeconds"]
        drain_seconds = DRAIN_SECONDS[_component(workload)]
        if grace_seconds < drain_seconds + 5:
            yield f"{name_of(workload)} is killed after {grace_seconds} s and may need {drain_seconds}"


def _check_secrets_and_settings(documents: Sequence[Document]) -> Iterator[str]:
    """Every setting exists; every secret is a file of a secret in `SECRET_KEYS`."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(documents, "ConfigMap")}
    known = {f"OVNPAY_{name.upper()}" for name in Settings.__struct_fields__}
    for name, data in maps.items():
        yield from (f"ConfigMap {name}: {one} is not a setting" for one in data if one not in known)
    for workload in of_kind(documents, "Deployment", "Job"):
        spec, container = _template(workload)["spec"], _container(workload)
        for source in container.get("envFrom", []):
            if source["configMapRef"]["name"] not in maps:
                yield f"{name_of(workload)} reads a ConfigMap that does not exist"
        folders = {}
        for volume in spec["volumes"]:
            if "secret" in volume:
                mount = next(one for one in container["volumeMounts"] if one["name"] == volume["name"])
                folders[mount["mountPath"]] = SECRET_KEYS.get(volume["secret"]["secretName"], set())
        if "ovnpay-owner" in str(spec["volumes"]) and _component(workload) != "migrate":
            yield f"{name_of(workload)} mounts the password of the tables' owner"
        for variable in container["env"]:
            name, _, suffix = variable["name"].partition("_FILE")
            if name not in known:
                yield f"{name_of(workload)}: {variable['name']} is not a setting"
            folder, _, key = variable["value"].rpartition("/")
            if suffix or "_FILE" not in variable["name"] or key not in folders.get(folder, set()):
                yield f"{name_of(workload)}: {variable['name']} does not name a file of a mounted secret"


def _check_services(documents: Sequence[Document]) -> Iterator[str]:
    """Services select pods with the port they name; an Ingress names a Service with its port."""
    workloads = of_kind(documents, "Deployment")
    services = {one["metadata"]["name"]: one for one in of_kind(documents, "Service")}
    for service in services.values():
        selected = [one for one in workloads if _matches(service["spec"]["selector"], _labels(one))]
        if not selected:
            yield f"{name_of(service)} selects no pod"
        for port in service["spec"]["ports"]:
            for workload in selected:
                if port["targetPort"] not in {one["name"] for one in _container(workload)["ports"]}:
                    yield f"{name_of(service)}: {name_of(workload)} has no port {port['targetPort']}"
    for ingress in of_kind(documents, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                named = path["backend"]["service"]
                service = services.get(named["name"], {"spec": {"ports": []}})
                if named["port"]["name"] not in {port["name"] for port in service["spec"]["ports"]}:
                    yield f"{name_of(ingress)} routes to a port that no Service has"


def _check_disruption(documents: Sequence[Document]) -> Iterator[str]:
    """Draining a node removes at most one pod of a deployment; deployments select their own pods."""
    workloads = of_kind(documents, "Deployment")
    for workload in of_kind(documents, "Deployment", "Job"):
        selector = workload["spec"].get("selector", {}).get("matchLabels", {})
        if not _matches(selector, _labels(workload)):
            yield f"{name_of(workload)} does not select its own pods"
    budgets = of_kind(documents, "PodDisruptionBudget")
    for workload in workloads:
        mine = [one for one in budgets if _matches(one["spec"]["selector"]["matchLabels"], _labels(workload))]
        if len(mine) != (0 if _component(workload) == "exporter" else 1):
            yield f"{name_of(workload)} has {len(mine)} disruption budgets"
        for budget in mine:
            if sum(_matches(budget["spec"]["selector"]["matchLabels"], _labels(one)) for one in workloads) != 1:
                yield f"{name_of(budget)} covers the pods of several deployments"


def _check_scaling(documents: Sequence[Document]) -> Iterator[str]:
    """Every queue has one pool, scaled by the age of the due rows its queues process, and never to zero."""
    deployments = {one["metadata"]["name"]: one for one in of_kind(documents, "Deployment")}
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one for one in of_kind(documents, "ScaledObject")}
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        scaled[scaler["spec"]["scaleTargetRef"]["name"]] = scaler
    yield from (f"the autoscaler of {name} has no deployment" for name in scaled.keys() - deployments.keys())
    yield from (f"{name} sets replicas although an autoscaler does"
                for name in scaled.keys() & deployments.keys() if "replicas" in deployments[name]["spec"])  # fmt: skip
    consumed: list[str] = []
    for name, workload in deployments.items():
        if _component(workload) != "workers":
            continue
        args = _container(workload)["args"]
        queues = args[args.index("--queues") + 1].split(",")
        consumed += queues
        spec = scaled.get(name, {"spec": {"minReplicaCount": 0, "triggers": []}})["spec"]
        if spec["minReplicaCount"] < 1:
            yield f"Deployment {name} may be scaled to zero: the next payout would wait for a node to start"
        kinds = {kind for trigger in spec["triggers"] for kind in _kinds(trigger)}
        expected = {kind for kind, queue in DUE_KINDS.items() if queue in queues}
        if kinds != expected:
            yield f"Deployment {name} is scaled by {sorted(kinds)} and processes {sorted(expected)}"
    if sorted(consumed) != sorted(QUEUES):
        yield f"the pools consume {sorted(consumed)}, the queues are {sorted(QUEUES)}"


def _kinds(trigger: Document) -> set[str]:
    query = trigger["metadata"]["query"]
    found = re.fullmatch(r'max\(ovnpay_due_oldest_age_seconds\{kind=~"([a-z_|]+)"\}\)', query)
    return set(found[1].split("|")) if found else {query}


def _check_network(documents: Sequence[Document]) -> Iterator[str]:
    """Traffic is denied by default; only components that call out reach the internet, and no private address."""
    policies = of_kind(documents, "NetworkPolicy")
    if not any(one["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} for one in policies):
        yield "no NetworkPolicy denies traffic by default"
    workloads = of_kind(documents, "Deployment", "Job")
    for policy in policies:
        selector = policy["spec"]["podSelector"].get("matchLabels", {})
        selected = [one for one in workloads if _matches(selector, _labels(one))]
        if not selected:
            yield f"{name_of(policy)} selects no pod"
        for rule in policy["spec"].get("ingress", []):
            for port in rule["ports"]:
                if not any(port["port"] in {one["name"] for one in _container(w).get("ports", [])} for w in selected):
                    yield f"{name_of(policy)} opens a port {port['port']} that no pod has"
        for rule in policy["spec"].get("egress", []):
            for block in (to["ipBlock"] for to in rule["to"] if "ipBlock" in to):
                if block["cidr"] == "0.0.0.0/0" and "169.254.0.0/16" not in block.get("except", []):
                    yield f"{name_of(policy)} allows the cloud's metadata service"
    for workload in workloads:
        queues = str(_container(workload)["args"])
        calls = any(name in queues for name in ("instant", "payouts", "customer_events")) and "workers" in queues
        if calls != ("ovnpay.io/calls-out" in _labels(workload)):
            yield f"{name_of(workload)} has a calls-out label that does not match what it does"


def _check_monitors(documents: Sequence[Document]) -> Iterator[str]:
    """Every deployment is scraped through a Service that a monitor selects.

    Custom kinds may use known fields only, because their schemas come with their operators.
    """
    for document in documents:
        if document["kind"] in CUSTOM and document["apiVersion"] != CUSTOM[document["kind"]]:
            yield f"{name_of(document)} has apiVersion {document['apiVersion']}"
    for monitor in of_kind(documents, "ServiceMonitor"):
        if monitor["spec"].keys() - {"selector", "endpoints", "jobLabel", "podTargetLabels"}:
            yield f"{name_of(monitor)} has an unknown field"
        selector, ports = (
            monitor["spec"]["selector"]["matchLabels"],
            {one["port"] for one in monitor["spec"]["endpoints"]},
        )
        services = [one for one in of_kind(documents, "Service") if _matches(selector, one["metadata"]["labels"])]
        scraped = {
            name_of(workload)
            for service in services
            for workload in of_kind(documents, "Deployment")
            if _matches(service["spec"]["selector"], _labels(workload))
            and ports <= {port["name"] for port in service["spec"]["ports"]}
        }
        for workload in of_kind(documents, "Deployment"):
            if name_of(workload) not in scraped:
                yield f"{name_of(workload)} is not scraped"
    for scaled in of_kind(documents, "ScaledObject"):
        known = {
            "scaleTargetRef",
            "minReplicaCount",
            "maxReplicaCount",
            "pollingInterval",
            "fallback",
            "advanced",
            "triggers",
        }
        spec = scaled["spec"]
        if spec.keys() - known:
            yield f"{name_of(scaled)} has an unknown field"
        if not 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]:
            yield f"{name_of(scaled)}: minReplicaCount, fallback and maxReplicaCount are not in ascending order"
        for trigger in spec["triggers"]:
            if trigger["metadata"].keys() - {"serverAddress", "query", "threshold", "ignoreNullValues"}:
                yield f"{name_of(scaled)} has a trigger with an unknown field"
            if not all(isinstance(value, str) for value in trigger["metadata"].values()):
                yield f"{name_of(scaled)} has a trigger with values that are not strings, as KEDA requires"
