"""What KubeRay lets a RayJob have, as far as the manifest under cluster/ uses it.

Field names, types and requirements of ``ray.io/v1`` as KubeRay 1.6 defines them (RayJobSpec, RayClusterSpec, HeadGroupSpec,
WorkerGroupSpec, AutoscalerOptions, AuthOptions) and of the pod template of Kubernetes 1.31. A field that is not here is
refused, which the API server would drop without a word.
"""

from typing import Any

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGTPE]i?)?$"}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}


def record(required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """An object with these fields and no other."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def array(items: dict[str, Any]) -> dict[str, Any]:
    """A list of things of a kind."""
    return {"type": "array", "items": items}


SECRET_KEY = record(("key",), name=TEXT, key=TEXT, optional=FLAG)
VARIABLE = record(("name",), name=TEXT, value=TEXT, valueFrom=record(("secretKeyRef",), secretKeyRef=SECRET_KEY))
CONTAINER = record(
    ("name", "image"),
    name=TEXT,
    image=TEXT,
    env=array(VARIABLE),
    ports=array(record(("containerPort",), name=TEXT, containerPort={"type": "integer", "maximum": 65535})),
    resources=record(requests=QUANTITIES, limits=QUANTITIES),
    securityContext=record(
        allowPrivilegeEscalation=FLAG, capabilities=record(drop=array(TEXT)), readOnlyRootFilesystem=FLAG
    ),
    volumeMounts=array(record(("name", "mountPath"), name=TEXT, mountPath=TEXT, readOnly=FLAG)),
)
EXPRESSION = record(
    ("key", "operator"),
    key=TEXT,
    operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]},
    values=array(TEXT),
)
POD = record(
    ("containers",),
    affinity=record(
        nodeAffinity=record(
            requiredDuringSchedulingIgnoredDuringExecution=record(
                ("nodeSelectorTerms",), nodeSelectorTerms=array(record(matchExpressions=array(EXPRESSION)))
            )
        )
    ),
    nodeSelector=TEXTS,
    tolerations=array(
        record(
            key=TEXT,
            operator={"enum": ["Exists", "Equal"]},
            value=TEXT,
            effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        )
    ),
    terminationGracePeriodSeconds=COUNT,
    securityContext=record(runAsNonRoot=FLAG, runAsUser=COUNT, fsGroup=COUNT),
    containers=array(CONTAINER),
    volumes=array(
        record(("name",), name=TEXT, persistentVolumeClaim=record(("claimName",), claimName=TEXT, readOnly=FLAG))
    ),
)
TEMPLATE = record(("spec",), metadata=record(labels=TEXTS, annotations=TEXTS), spec=POD)
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
    workerGroupSpecs=array(WORKER_GROUP),
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
