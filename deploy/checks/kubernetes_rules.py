"""What must be true of the Kubernetes manifests, whatever the overlay: each sentence is a way in which they would fail.

The schemas know the fields; these rules know what the fields mean to each other. `tests/unit/test_kubernetes.py` asks
them of the base, `make manifests` of each overlay as kustomize makes it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.operations import due_rows
from shared.platform.settings import Settings
from shared.platform.task_queue import QUEUES

Document = dict[str, Any]

DRAIN_SECONDS: Final = {"gateway": 10 + 8, "workers": 35, "scheduler": 30, "exporter": 5}
"""How long each takes to end at the most: the gateway 10 s after the 8 of its preStop, workers as
`ovnpay workers --help` says, a scheduler by the statement timeout of `shared/platform/database.py`."""
PORTS: Final = {"gateway": 9101, "workers": 9102, "scheduler": 9103, "exporter": 9104}
SECRET_KEYS: Final = {
    "ovnpay-secrets": {
        "database-url", "redis-url", "key-pepper",
        "paystream-test-key", "paystream-live-key", "paystream-webhook-secret",
    },
    "ovnpay-owner": {"database-url"},
}  # fmt: skip
"""The secrets that deploy/kubernetes/README.md has you make, for they can't be in the tree."""
CUSTOM: Final = {"ServiceMonitor": "monitoring.coreos.com/v1", "ScaledObject": "keda.sh/v1alpha1"}
DUE_KINDS: Final = {kind.name: kind.bell.queue for kind in (*due_rows.KINDS, due_rows.WEBHOOKS)}


def findings(documents: Sequence[Document]) -> list[str]:
    """What is wrong, a sentence each."""
    rules = (_pods, _probes, _endings, _secrets_and_settings, _services, _disruption, _scaling, _network, _monitors)
    return [finding for rule in rules for finding in rule(documents)]


def of_kind(documents: Sequence[Document], *kinds: str) -> list[Document]:
    """Those of a kind."""
    return [one for one in documents if one["kind"] in kinds]


def name_of(document: Document) -> str:
    """As in `Deployment gateway`."""
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


def _pods(documents: Sequence[Document]) -> Iterator[str]:
    """Hardened: nobody in particular, read-only, no capability, no token; bounded memory."""
    for workload in of_kind(documents, "Deployment", "Job"):
        spec, container = _template(workload)["spec"], _container(workload)
        pod, own = spec["securityContext"], container["securityContext"]
        if not (pod["runAsNonRoot"] and pod["runAsUser"] > 0 and pod["seccompProfile"]["type"] == "RuntimeDefault"):
            yield f"{name_of(workload)} may run as root, or with every system call"
        if own != {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }:
            yield f"{name_of(workload)} has a container that is not closed up"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name_of(workload)} gets a token for Kubernetes, which none of ours talks to"
        if "memory" not in container["resources"].get("limits", {}) or "cpu" not in container["resources"]["requests"]:
            yield f"{name_of(workload)} has no limit to its memory, or asks for no cpu"
        if workload["kind"] == "Deployment" and workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            yield f"{name_of(workload)} takes old pods away before new ones are ready"
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        if mounts != {volume["name"] for volume in spec["volumes"]}:
            yield f"{name_of(workload)} mounts a volume that it has not, or has one that it doesn't mount"
    names = {one["metadata"]["name"] for one in of_kind(documents, "ServiceAccount")}
    if {_template(one)["spec"]["serviceAccountName"] for one in of_kind(documents, "Deployment", "Job")} - names:
        yield "a pod runs as a service account that is not there"


def _probes(documents: Sequence[Document]) -> Iterator[str]:
    """Each asks a port that the container has; life is never made to depend on the database but for the scheduler's."""
    for workload in of_kind(documents, "Deployment"):
        container = _container(workload)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        if ports.get("metrics") != PORTS[_component(workload)]:
            yield f"{name_of(workload)} has its metrics on another port than its settings say"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            if asked["port"] not in ports:
                yield f"{name_of(workload)}: its {probe} asks a port that is not there"
        if container["readinessProbe"]["httpGet"]["path"] != "/health/ready":
            yield f"{name_of(workload)} is ready without being asked whether it is"
        alive = container["livenessProbe"]["httpGet"]["path"]
        if alive != ("/health" if _component(workload) == "scheduler" else "/health/live"):
            yield f"{name_of(workload)}: its livenessProbe asks {alive}"


def _endings(documents: Sequence[Document]) -> Iterator[str]:
    """Kubernetes waits longer than a process takes to finish what it has."""
    for workload in of_kind(documents, "Deployment"):
        given, needed = (
            _template(workload)["spec"]["terminationGracePeriodSeconds"],
            DRAIN_SECONDS[_component(workload)],
        )
        if given < needed + 5:
            yield f"{name_of(workload)} is killed after {given} s, and may need {needed}"


def _secrets_and_settings(documents: Sequence[Document]) -> Iterator[str]:
    """Each setting exists, each secret is a file of a secret that the README has you make."""
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(documents, "ConfigMap")}
    known = {f"OVNPAY_{name.upper()}" for name in Settings.__struct_fields__}
    for name, data in maps.items():
        yield from (f"ConfigMap {name}: {one} is no setting" for one in data if one not in known)
    for workload in of_kind(documents, "Deployment", "Job"):
        spec, container = _template(workload)["spec"], _container(workload)
        for source in container.get("envFrom", []):
            if source["configMapRef"]["name"] not in maps:
                yield f"{name_of(workload)} reads a ConfigMap that is not there"
        folders = {}
        for volume in spec["volumes"]:
            if "secret" in volume:
                mount = next(one for one in container["volumeMounts"] if one["name"] == volume["name"])
                folders[mount["mountPath"]] = SECRET_KEYS.get(volume["secret"]["secretName"], set())
        if "ovnpay-owner" in str(spec["volumes"]) and _component(workload) != "migrate":
            yield f"{name_of(workload)} gets the password of the tables' owner"
        for variable in container["env"]:
            name, _, suffix = variable["name"].partition("_FILE")
            if name not in known:
                yield f"{name_of(workload)}: {variable['name']} is no setting"
            folder, _, key = variable["value"].rpartition("/")
            if suffix or "_FILE" not in variable["name"] or key not in folders.get(folder, set()):
                yield f"{name_of(workload)}: {variable['name']} names no file of a secret that it mounts"


def _services(documents: Sequence[Document]) -> Iterator[str]:
    """Each selects pods that have the port which it names; each Ingress a Service with the port."""
    workloads = of_kind(documents, "Deployment")
    services = {one["metadata"]["name"]: one for one in of_kind(documents, "Service")}
    for service in services.values():
        chosen = [one for one in workloads if _matches(service["spec"]["selector"], _labels(one))]
        if not chosen:
            yield f"{name_of(service)} selects no pod"
        for port in service["spec"]["ports"]:
            for workload in chosen:
                if port["targetPort"] not in {one["name"] for one in _container(workload)["ports"]}:
                    yield f"{name_of(service)}: {name_of(workload)} has no port {port['targetPort']}"
    for ingress in of_kind(documents, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                named = path["backend"]["service"]
                service = services.get(named["name"], {"spec": {"ports": []}})
                if named["port"]["name"] not in {port["name"] for port in service["spec"]["ports"]}:
                    yield f"{name_of(ingress)} sends requests to a port that no Service has"


def _disruption(documents: Sequence[Document]) -> Iterator[str]:
    """A node that is emptied takes at most one of a kind; selectors select."""
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
                yield f"{name_of(budget)} counts the pods of several deployments as one"


def _scaling(documents: Sequence[Document]) -> Iterator[str]:
    """Every queue has one pool, which is scaled by the ages of what its queues are for, and never to zero."""
    deployments = {one["metadata"]["name"]: one for one in of_kind(documents, "Deployment")}
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one for one in of_kind(documents, "ScaledObject")}
    for scaler in of_kind(documents, "HorizontalPodAutoscaler"):
        scaled[scaler["spec"]["scaleTargetRef"]["name"]] = scaler
    yield from (f"what scales {name} scales nothing that is there" for name in scaled.keys() - deployments.keys())
    yield from (f"{name} says how many it is, and so does what scales it"
                for name in scaled.keys() & deployments.keys() if "replicas" in deployments[name]["spec"])  # fmt: skip
    heard: list[str] = []
    for name, workload in deployments.items():
        if _component(workload) != "workers":
            continue
        args = _container(workload)["args"]
        queues = args[args.index("--queues") + 1].split(",")
        heard += queues
        spec = scaled.get(name, {"spec": {"minReplicaCount": 0, "triggers": []}})["spec"]
        if spec["minReplicaCount"] < 1:
            yield f"Deployment {name} may be scaled to zero: the next payout would wait for a node and a start"
        kinds = {kind for trigger in spec["triggers"] for kind in _kinds(trigger)}
        wanted = {kind for kind, queue in DUE_KINDS.items() if queue in queues}
        if kinds != wanted:
            yield f"Deployment {name} is scaled by {sorted(kinds)}, and does {sorted(wanted)}"
    if sorted(heard) != sorted(QUEUES):
        yield f"the pools hear {sorted(heard)}, the queues are {sorted(QUEUES)}"


def _kinds(trigger: Document) -> set[str]:
    query = trigger["metadata"]["query"]
    found = re.fullmatch(r'max\(ovnpay_due_oldest_age_seconds\{kind=~"([a-z_|]+)"\}\)', query)
    return set(found[1].split("|")) if found else {query}


def _network(documents: Sequence[Document]) -> Iterator[str]:
    """Nobody talks to anybody but by a policy; only who calls out reaches the internet, and nothing private there."""
    policies = of_kind(documents, "NetworkPolicy")
    if not any(one["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} for one in policies):
        yield "no NetworkPolicy denies what none allows"
    workloads = of_kind(documents, "Deployment", "Job")
    for policy in policies:
        selector = policy["spec"]["podSelector"].get("matchLabels", {})
        chosen = [one for one in workloads if _matches(selector, _labels(one))]
        if not chosen:
            yield f"{name_of(policy)} selects no pod"
        for rule in policy["spec"].get("ingress", []):
            for port in rule["ports"]:
                if not any(port["port"] in {one["name"] for one in _container(w).get("ports", [])} for w in chosen):
                    yield f"{name_of(policy)} opens a port {port['port']} that no pod has"
        for rule in policy["spec"].get("egress", []):
            for block in (to["ipBlock"] for to in rule["to"] if "ipBlock" in to):
                if block["cidr"] == "0.0.0.0/0" and "169.254.0.0/16" not in block.get("except", []):
                    yield f"{name_of(policy)} lets pods reach the cloud's metadata service"
    for workload in workloads:
        queues = str(_container(workload)["args"])
        calls = any(name in queues for name in ("instant", "payouts", "customer_events")) and "workers" in queues
        if calls != ("ovnpay.io/calls-out" in _labels(workload)):
            yield f"{name_of(workload)} calls out and may not, or may and doesn't"


def _monitors(documents: Sequence[Document]) -> Iterator[str]:
    """Every deployment is scraped, through a Service that the monitor finds. The two custom kinds are held to
    the fields that we use, for their schemas come with their operators.
    """
    for document in documents:
        if document["kind"] in CUSTOM and document["apiVersion"] != CUSTOM[document["kind"]]:
            yield f"{name_of(document)} has apiVersion {document['apiVersion']}"
    for monitor in of_kind(documents, "ServiceMonitor"):
        if monitor["spec"].keys() - {"selector", "endpoints", "jobLabel", "podTargetLabels"}:
            yield f"{name_of(monitor)} has a field that is not known here"
        selector, ports = (
            monitor["spec"]["selector"]["matchLabels"],
            {one["port"] for one in monitor["spec"]["endpoints"]},
        )
        found = [one for one in of_kind(documents, "Service") if _matches(selector, one["metadata"]["labels"])]
        seen = {
            name_of(workload)
            for service in found
            for workload in of_kind(documents, "Deployment")
            if _matches(service["spec"]["selector"], _labels(workload))
            and ports <= {port["name"] for port in service["spec"]["ports"]}
        }
        for workload in of_kind(documents, "Deployment"):
            if name_of(workload) not in seen:
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
            yield f"{name_of(scaled)} has a field that is not known here"
        if not 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]:
            yield f"{name_of(scaled)}: fewest, when blind, most: that is not in this order"
        for trigger in spec["triggers"]:
            if trigger["metadata"].keys() - {"serverAddress", "query", "threshold", "ignoreNullValues"}:
                yield f"{name_of(scaled)} has a trigger with a field that is not known here"
            if not all(isinstance(value, str) for value in trigger["metadata"].values()):
                yield f"{name_of(scaled)} has a trigger whose values are not all text, as KEDA wants them"
