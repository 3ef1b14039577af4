"""What KubeRay and Kubernetes let a RayJob have.

Three readings, each strict where the API server is not, which drops a field it does not know without a word: the fields of
KubeRay that the manifest uses, always; the pod templates as Kubernetes' own client knows them, always; and KubeRay's published
definition of the resource, where it can be had.
"""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiClient

VARIABLE = "KUBERAY_RAYJOB_CRD"
"""Environment variable that names the published definition, a file or an https address; `make test-cluster` sets it."""

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
TEMPLATE = {"type": "object"}
"""A pod template, which :func:`pod_template` reads."""


def record(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """An object with these fields and no other."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


WORKER_GROUP = record(
    ("groupName", "minReplicas", "maxReplicas", "template"),
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    rayStartParams=TEXTS,
    template=TEMPLATE,
)
RAY_CLUSTER = record(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=record(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=record(
        idleTimeoutSeconds=COUNT, upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}
    ),
    headGroupSpec=record(("template",), rayStartParams=TEXTS, template=TEMPLATE),
    workerGroupSpecs={"type": "array", "items": WORKER_GROUP},
)
RAY_JOB = record(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=record(("name",), name=TEXT, namespace=TEXT, labels=TEXTS),
    spec=record(
        entrypoint=TEXT,
        entrypointNumCpus={"type": "number"},
        backoffLimit=COUNT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
        submitterConfig=record(backoffLimit=COUNT),
        activeDeadlineSeconds=COUNT,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        runtimeEnvYAML=TEXT,
        rayClusterSpec=RAY_CLUSTER,
    ),
)
"""Names, types and requirements of ``ray.io/v1`` as KubeRay 1.6 defines them, as far as the manifest uses them."""


def pod_template(template: dict[str, Any]) -> Any:
    """A pod template as Kubernetes' client reads it and writes it again: less what it does not know, values of their types.

    Raises:
        ValueError: a required field is not there, or a value cannot be made one of its type.
    """
    client = ApiClient()
    read = client._ApiClient__deserialize(template, "V1PodTemplateSpec")
    return client.sanitize_for_serialization(read)


def published() -> dict[str, Any] | None:
    """KubeRay's published definition of a RayJob, or None where none is named or its address is not reached."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    if named.startswith("https://"):
        try:
            with urllib.request.urlopen(named, timeout=20) as answer:
                text = answer.read().decode()
        except OSError:
            return None
    else:
        text = Path(named).read_text()
    loaded: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return loaded


def strict(definition: dict[str, Any], version: str) -> dict[str, Any]:
    """The JSON schema of one version of a custom resource, with every field refused that the API server would drop.

    Args:
        definition: a CustomResourceDefinition (``apiextensions.k8s.io/v1``).
        version: e.g. ``v1``.

    Raises:
        KeyError: there is no such version.
    """
    schemas = {each["name"]: each["schema"]["openAPIV3Schema"] for each in definition["spec"]["versions"]}
    closed: dict[str, Any] = _closed(schemas[version])
    # The definition leaves an object's metadata to the API server.
    closed["properties"]["metadata"] = RAY_JOB["properties"]["metadata"]
    return closed


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # Below `properties` the keys are names of fields, which may be called like a keyword.
    found = {
        key: {name: _closed(each) for name, each in value.items()} if key == "properties" else _closed(value)
        for key, value in schema.items()
    }
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found
