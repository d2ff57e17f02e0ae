"""The Kubernetes files fit their schemas, ask for a token, and open nothing."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.support.files import (
    DEPLOY,
    HEALTH_CHECK,
    OVERLAYS,
    kustomized,
    manifests,
    pod_specs,
    ray_cluster,
    text_files,
    why_no_kustomize,
)

KUBERNETES = "1.33"
WHY_NOT = why_no_kustomize()
SECRET_FIELDS = ("TOKEN", "PASSWORD", "SECRET")


@pytest.fixture(params=["base", "cluster", "job", "mlflow", *OVERLAYS])
def documents(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    folder = request.param
    if folder not in OVERLAYS:
        return manifests(folder)
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    return kustomized(f"overlays/{folder}")


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse unknown fields wherever the schema lists the known ones."""
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for child in schema.values():
        if isinstance(child, dict):
            _strict(child)
    return schema


def _schema_of(kind: str) -> dict[str, Any]:
    packed = (Path(__file__).parent / "schemas" / f"{kind}.v1.json.gz").read_bytes()
    schema: dict[str, Any] = json.loads(gzip.decompress(packed))
    return schema


@pytest.fixture(scope="session")
def kuberay() -> dict[str, jsonschema.Draft202012Validator]:
    """KubeRay's schemas by kind."""
    kinds = ("RayCluster", "RayJob")
    return {kind: jsonschema.Draft202012Validator(_strict(_schema_of(kind))) for kind in kinds}


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_the_schemas_here_are_those_of_kuberays_definitions(kind: str, shared_data: Path) -> None:
    packed = (shared_data / "kuberay_crds" / f"ray.io_{kind.lower()}s.yaml.gz").read_bytes()
    definition = yaml.load(gzip.decompress(packed), Loader=yaml.CSafeLoader)["spec"]
    (version,) = [v for v in definition["versions"] if v["name"] == "v1"]
    assert version["schema"]["openAPIV3Schema"] == _schema_of(kind)


@pytest.mark.parametrize("place", [("spec",), ("spec", "headGroupSpec"), ()], ids=str)
def test_a_misspelt_field_of_ray_is_found(
    place: tuple[str, ...], kuberay: dict[str, jsonschema.Draft202012Validator]
) -> None:
    (cluster,) = manifests("cluster")
    target: dict[str, Any] = cluster
    for name in place:
        target = target[name]
    target["rayVersions"] = "2.60.0"
    with pytest.raises(jsonschema.ValidationError, match="rayVersions"):
        kuberay["RayCluster"].validate(cluster)


def _is_rays(document: dict[str, Any]) -> bool:
    return bool(document["apiVersion"].startswith("ray.io/"))


def test_every_object_of_kubernetes_fits_its_schema_and_has_no_unknown_field(
    documents: list[dict[str, Any]],
) -> None:
    for document in documents:
        if not _is_rays(document):
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_every_pod_of_ray_fits_the_schema_of_kubernetes(documents: list[dict[str, Any]]) -> None:
    """KubeRay's own definitions are not needed for what stands inside them."""
    for document in filter(_is_rays, documents):
        for spec in pod_specs(document):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_every_object_of_ray_fits_its_schema_and_has_no_unknown_field(
    documents: list[dict[str, Any]], kuberay: dict[str, jsonschema.Draft202012Validator]
) -> None:
    for document in filter(_is_rays, documents):
        kuberay[document["kind"]].validate(document)


def test_every_ray_cluster_asks_for_a_token_and_notices_lost_nodes(
    documents: list[dict[str, Any]],
) -> None:
    for document in documents:
        if document["kind"] not in ("RayCluster", "RayJob"):
            continue
        cluster = ray_cluster(document)
        assert cluster["authOptions"]["mode"] == "token"
        head = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
        given = {item["name"]: item.get("value") for item in head["env"]}
        assert given.items() >= HEALTH_CHECK.items()
        started = cluster["headGroupSpec"]["rayStartParams"]
        assert (started["num-cpus"], started["num-gpus"]) == ("0", "0")  # no trial runs there


def test_no_secret_stands_in_a_file(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        assert document["kind"] != "Secret"
        for pod in pod_specs(document):
            for container in pod["containers"]:
                for variable in container.get("env", ()):
                    if any(word in variable["name"] for word in SECRET_FIELDS):
                        path = variable["name"].endswith("_FILE")
                        assert path or "secretKeyRef" in variable["valueFrom"]


@pytest.mark.parametrize("path", text_files(), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_no_password_is_an_argument_of_a_command(path: Path) -> None:
    told = path.read_text()
    assert "--from-literal" not in told  # the list of processes shows it
    for source in re.findall(r"--from-file=[\w-]+=(\S+)", told):
        assert source.startswith("<("), source


def test_nothing_is_published(documents: list[dict[str, Any]]) -> None:
    told = json.dumps(documents)
    for word in (
        "hostPort",
        "hostNetwork",
        "NodePort",
        "LoadBalancer",
        'Ingress"',
        "enableIngress",
    ):
        assert word not in told.replace('"policyTypes": ["Ingress"]', "")


def test_pods_have_no_rights_and_known_needs(documents: list[dict[str, Any]]) -> None:
    for pod in pod_specs(documents):
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not security["allowPrivilegeEscalation"]
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}


def test_the_job_can_be_repeated_and_is_the_cluster_that_stands() -> None:
    (standing,), (job,) = manifests("cluster"), manifests("job")
    entry = job["spec"]["entrypoint"].split()
    assert entry[:2] == ["dexsearch", "tune"]
    assert {"--takeover", "--address"} <= set(entry)
    assert job["spec"]["backoffLimit"] > 0
    assert job["spec"]["submitterConfig"]["backoffLimit"] >= 6  # the dashboard may listen later
    own, other = ray_cluster(job), ray_cluster(standing)
    assert other["headGroupSpec"]["rayStartParams"].pop("dashboard-host") == "127.0.0.1"
    ports = own["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    ports.remove(
        {"containerPort": 8265, "name": "dashboard"}
    )  # the operator follows the job there
    assert own == other


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
@pytest.mark.parametrize("kind", ["cluster", "job"])
def test_the_gpu_overlay_gives_workers_a_gpu_and_every_node_the_cuda_image(kind: str) -> None:
    documents = kustomized(f"overlays/{kind}-gpu")
    cluster = next(ray_cluster(d) for d in documents if d["kind"] in ("RayCluster", "RayJob"))
    worker = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    images = {c["image"] for pod in pod_specs(documents) for c in pod["containers"]}
    assert {image.rpartition("-")[2] for image in images} == {"cuda"}


def test_what_pods_mount_exists() -> None:
    names = {(d["kind"], d["metadata"]["name"]) for d in manifests("base") + manifests("mlflow")}
    for folder in ("cluster", "job", "mlflow"):
        for pod in pod_specs(manifests(folder)):
            for volume in pod.get("volumes", ()):
                claim = volume.get("persistentVolumeClaim")
                assert not claim or ("PersistentVolumeClaim", claim["claimName"]) in names


def test_the_search_that_is_named_is_the_one_that_is_mounted() -> None:
    entry = manifests("job")[0]["spec"]["entrypoint"].split()
    by_hand = (DEPLOY / "kubernetes" / "cluster" / "raycluster.yaml").read_text()
    assert entry[entry.index("--space") + 1] == "/etc/dexsearch/search.yaml"
    assert "--space /etc/dexsearch/search.yaml" in by_hand
    mounts = {
        mount["mountPath"]
        for pod in pod_specs(manifests("cluster") + manifests("job"))
        for container in pod["containers"]
        for mount in container.get("volumeMounts", ())
    }
    assert "/etc/dexsearch" in mounts


def test_the_search_of_the_job_is_one_that_dexsearch_accepts() -> None:
    from dexsearch.config.space import SearchSpace

    told = yaml.safe_load((DEPLOY / "kubernetes" / "base" / "search.yaml").read_text())
    assert SearchSpace.model_validate(told).trials
