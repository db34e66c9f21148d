"""What our Kubernetes objects have to be together, beyond what each one's schema says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Manifest = Mapping[str, Any]
GPU = "nvidia.com/gpu"
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def faults(objects: Sequence[Manifest]) -> list[str]:
    """Return one line for each rule that a set of objects, applied together, breaks."""
    found: list[str] = []
    for one in objects:
        name = f"{one['kind']}/{one['metadata']['name']}"
        found += (f"{name}: {fault}" for fault in RULES.get(one["kind"], _nothing)(one, objects))
    return found


def _nothing(_one: Manifest, _objects: Sequence[Manifest]) -> Iterator[str]:
    return iter(())


def _budget_faults(one: Manifest, objects: Sequence[Manifest]) -> Iterator[str]:
    if not _selected(one["spec"]["selector"]["matchLabels"], _pods(objects)):
        yield "selects no pod"
    if one["spec"].get("maxUnavailable") != 1:
        yield "one replica could never be moved"


def _policy_faults(one: Manifest, _objects: Sequence[Manifest]) -> Iterator[str]:
    if one["spec"] != {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}:
        yield "does not deny everything"


def _namespace_faults(one: Manifest, _objects: Sequence[Manifest]) -> Iterator[str]:
    if one["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "lets unrestricted pods in"


def _account_faults(one: Manifest, _objects: Sequence[Manifest]) -> Iterator[str]:
    if one.get("automountServiceAccountToken") is not False:
        yield "hands its token to pods"


def _secret_faults(_one: Manifest, _objects: Sequence[Manifest]) -> Iterator[str]:
    yield "a secret does not belong into a repository"


def _pods(objects: Sequence[Manifest]) -> list[Manifest]:
    """Return the pod templates, and the pods themselves."""
    templates = [one["spec"]["template"] for one in objects if one["kind"] == "Deployment"]
    return templates + [one for one in objects if one["kind"] == "Pod"]


def _selected(labels: Manifest, pods: Sequence[Manifest]) -> list[Manifest]:
    return [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]


def _deployment_faults(one: Manifest, objects: Sequence[Manifest]) -> Iterator[str]:
    spec = one["spec"]
    yield from _pod_faults(spec["template"], objects)
    if (
        not spec["selector"]["matchLabels"].items()
        <= spec["template"]["metadata"]["labels"].items()
    ):
        yield "does not select its own pods"
    if spec["strategy"].get("rollingUpdate") != {"maxSurge": 0, "maxUnavailable": 1}:
        yield "a roll-out waits for a GPU that the old pod holds"
    server = spec["template"]["spec"]["containers"][0]
    gpus = server["resources"]["limits"].get(GPU)
    if gpus is None or server["resources"]["requests"].get(GPU) != gpus:
        yield "GPUs asked for and allowed differ, or there is none"
    for probe in PROBES:
        if "exec" not in server.get(probe, {}):
            yield f"{probe} does not ask inside the pod, where the loopback interface is"
    start = server.get("startupProbe", {})
    if start.get("periodSeconds", 0) * start.get("failureThreshold", 0) < 600:
        yield "a slow start is killed"


def _pod_faults(one: Manifest, objects: Sequence[Manifest]) -> Iterator[str]:
    spec = one["spec"]
    yield from _isolation_faults(spec)
    yield from _reference_faults(spec, objects)
    for container in spec["containers"]:
        yield from _container_faults(container, {volume["name"] for volume in spec["volumes"]})


def _isolation_faults(spec: Manifest) -> Iterator[str]:
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") != 10001:
        yield "does not run as the image's user"
    if context.get("fsGroup") != context.get("runAsGroup"):
        yield "may not write its volume"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "may make any system call"
    if any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares the host's namespaces"
    if spec.get("automountServiceAccountToken") is not False:
        yield "holds a token for the cluster"
    if spec.get("enableServiceLinks") is not False:
        yield "service links would set TORCHKEEP_* variables"


def _reference_faults(spec: Manifest, objects: Sequence[Manifest]) -> Iterator[str]:
    known = {(one["kind"], one["metadata"]["name"]) for one in objects}
    wanted = [("ServiceAccount", spec.get("serviceAccountName", "default"))]
    for volume in spec["volumes"]:
        if "persistentVolumeClaim" in volume:
            wanted.append(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
        elif "configMap" in volume:
            wanted.append(("ConfigMap", volume["configMap"]["name"]))
        elif not volume.get("emptyDir", {}).get("sizeLimit"):
            yield f"volume {volume['name']} has no bound"
    yield from (
        f"{kind}/{name} does not exist" for kind, name in wanted if (kind, name) not in known
    )


def _container_faults(container: Manifest, volumes: set[str]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may change its own files"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "keeps capabilities"
    if ":" not in container["image"] or container["image"].endswith(":latest"):
        yield f"image {container['image']} has no version"
    resources = container.get("resources", {})
    if {"cpu", "memory"} - set(resources.get("requests", {})) or "memory" not in resources[
        "limits"
    ]:
        yield "asks for no share of the node, or may take all its memory"
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            yield f"mounts {mount['name']}, which is no volume of the pod"


def _service_faults(one: Manifest, objects: Sequence[Manifest]) -> Iterator[str]:
    chosen = _selected(one["spec"]["selector"], _pods(objects))
    if len(chosen) != 1:
        yield "selects not exactly one kind of pod"
    offered = {
        port["name"] for pod in chosen for port in pod["spec"]["containers"][0].get("ports", [])
    }
    for port in one["spec"]["ports"]:
        if port["targetPort"] not in offered:
            yield f"port {port['name']} leads to {port['targetPort']}, which no pod offers"
    if one["spec"].get("type", "ClusterIP") != "ClusterIP":
        yield "opens a port to the outside"


RULES: Mapping[str, Callable[[Manifest, Sequence[Manifest]], Iterator[str]]] = {
    "Deployment": _deployment_faults,
    "Namespace": _namespace_faults,
    "NetworkPolicy": _policy_faults,
    "Pod": _pod_faults,
    "PodDisruptionBudget": _budget_faults,
    "Secret": _secret_faults,
    "Service": _service_faults,
    "ServiceAccount": _account_faults,
}
