"""The cluster file fits KubeRay's own schema, with no field that the schema does not know."""

import gzip
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).parents[2]


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse unknown fields wherever the schema lists the known ones."""
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for child in schema.values():
        if isinstance(child, dict):
            _strict(child)
    return schema


def test_the_cluster_file_fits_the_custom_resource_definition(shared_data: Path) -> None:
    packed = (shared_data / "kuberay_crds" / "ray.io_rayclusters.yaml.gz").read_bytes()
    definition = yaml.safe_load(gzip.decompress(packed))
    version = next(v for v in definition["spec"]["versions"] if v["name"] == "v1")
    cluster = yaml.safe_load((ROOT / "deploy" / "raycluster.yaml").read_text())
    jsonschema.validate(cluster, _strict(version["schema"]["openAPIV3Schema"]))
    assert cluster["spec"]["authOptions"] == {"mode": "token"}


def test_the_container_file_copies_only_what_exists() -> None:
    lines = (ROOT / "deploy" / "Containerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
