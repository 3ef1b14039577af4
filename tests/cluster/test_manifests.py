"""Manifests are what their readers allow, pin what the project pins, and offer the nodes that the pools ask for."""

import copy
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.runtime.placement import fit, request
from tests.cluster.rayjob_schema import RAY_JOB, VARIABLE, pod_template, published, strict
from tests.conftest import ROOT

CLUSTER = ROOT / "cluster"
TOLD = [
    "run_dir=r", "input.path=p", "input.columns.target_lang=to", "input.source_lang=en", "router.path=router", "budget.rows=1"
]  # fmt: skip
UP = ("ray-aws.yaml", "ray-gcp.yaml")


@pytest.fixture(scope="module")
def config() -> TranslateConfig:
    return configlib.load(TranslateConfig, [str(ROOT / "configs" / "cluster.yaml")], TOLD)


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())
    return loaded


def up(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLUSTER / name).read_text())
    return loaded


def group_nodes(job: dict[str, Any]) -> dict[str, tuple[dict[str, float], int]]:
    """What a node of each worker group has by Ray's names, and how many there may be."""
    found = {}
    for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        words = group["rayStartParams"].get("resources", '"{}"')
        more = json.loads(words[1:-1].replace("\\", ""))
        node = {"CPU": float(limits["cpu"]), "GPU": float(limits.get("nvidia.com/gpu", 0)), **more}
        found[group["groupName"]] = node, group["maxReplicas"]
    return found


def type_nodes(cluster: dict[str, Any]) -> dict[str, tuple[dict[str, float], int]]:
    types = cluster["available_node_types"]
    return {name: (kind["resources"], kind["max_workers"]) for name, kind in types.items() if name != "head"}


# KubeRay


def group_specs(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def misspelt(job: dict[str, Any]) -> dict[str, Any]:
    wrong = copy.deepcopy(job)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 3
    return wrong


def test_the_rayjob_is_what_kuberay_allows(job: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(RAY_JOB)
    jsonschema.validate(job, RAY_JOB)
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(misspelt(job), RAY_JOB)


def test_its_pods_are_what_kubernetes_allows(job: dict[str, Any]) -> None:
    for group in group_specs(job):
        assert pod_template(group["template"]) == group["template"]
    wrong = copy.deepcopy(group_specs(job)[0]["template"])
    wrong["spec"]["containers"][0]["imagePullPolice"] = "Always"
    assert pod_template(wrong) != wrong
    del wrong["spec"]["containers"][0]["name"]
    with pytest.raises(ValueError, match="name"):
        pod_template(wrong)


def test_the_rayjob_is_what_the_published_definition_allows(job: dict[str, Any]) -> None:
    definition = published()
    if definition is None:
        pytest.skip(f"{VARIABLE} names nothing that can be reached; make test-cluster sets it")
    schema = strict(definition, "v1")
    jsonschema.validate(job, schema)
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(misspelt(job), schema)


def test_a_definition_is_read_strictly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {
        "properties": {
            "properties": {"type": "object", "additionalProperties": {"type": "string"}},
            "any": {"type": "object", "properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": True},
            "sizes": {"type": "array", "items": {"type": "object", "properties": {"cpu": {"type": "integer"}}}},
        }
    }
    whole = {"type": "object", "properties": {"metadata": {"type": "object"}, "spec": spec}}
    definition = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": whole}}]}}
    (tmp_path / "crd.yaml").write_text(yaml.safe_dump(definition))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "crd.yaml"))
    schema = strict(published() or {}, "v1")

    def allows(spec: dict[str, Any]) -> bool:
        return jsonschema.Draft202012Validator(schema).is_valid({"metadata": {"name": "n"}, "spec": spec})

    assert allows({"properties": {"x": "1"}, "any": {"b": 1}, "sizes": [{"cpu": 1}]})
    assert not allows({"properties": {"x": 1}})
    assert not allows({"sizes": [{"cpus": 1}]})
    assert not allows({"more": 1})


def test_the_rayjob_runs_a_command_the_job_takes_and_runs_it_again(job: dict[str, Any]) -> None:
    spec = job["spec"]
    python, script, flag, name, *words = shlex.split(spec["entrypoint"])
    assert (python, script, flag) == ("python", "/app/jobs/translate.py", "--config")
    loaded = configlib.load(TranslateConfig, [str(ROOT / name.removeprefix("/app/"))], words)
    assert loaded.run_dir.startswith("s3://")
    assert loaded.ray.address == "auto"
    assert spec["backoffLimit"] >= 1
    assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__ == pins("constraints-vllm.txt")["ray"]
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_the_head_is_never_on_spot_and_workers_may_be(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]["template"]["spec"]
    assert "tolerations" not in head
    (term,) = head["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {rule["operator"] for rule in term["matchExpressions"]} == {"NotIn"}
    for group in cluster["workerGroupSpecs"]:
        assert any("spot" in each["key"] for each in group["template"]["spec"]["tolerations"])
        assert group["minReplicas"] == 0


def test_secrets_are_named_and_never_written_and_nobody_is_root(job: dict[str, Any]) -> None:
    for group in group_specs(job):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert all("value" not in variable for variable in container["env"])
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert not container["image"].endswith(":latest")


@pytest.mark.parametrize("name", ["rayjob.yaml", *UP])
def test_pools_find_their_nodes(name: str, config: TranslateConfig, job: dict[str, Any]) -> None:
    nodes = group_nodes(job) if name == "rayjob.yaml" else type_nodes(up(name))
    for size, pool in (("small", config.models.small.pool), ("large", config.models.large.pool)):
        node, most = nodes[size]
        wanted = request(pool)
        assert wanted["accelerator_type:" + str(pool.accelerator_type)]
        assert all(node.get(key, 0) >= amount for key, amount in wanted.items()), f"{size}: {wanted} on {node}"
        assert most * node["GPU"] >= pool.actors * pool.gpus
        others = [other for group, (other, _) in nodes.items() if group != size]
        assert not any(all(o.get(key, 0) >= amount for key, amount in wanted.items()) for o in others)
    assert fit(
        [config.models.small.pool, config.models.large.pool],
        [node for node, most in nodes.values() for _ in range(most)],
    )


# ray up


@pytest.mark.parametrize("name", UP)
def test_ray_up_takes_it(name: str) -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(up(name), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(up(name) | {"max_workers": "many"}, schema)
    validate_config(prepare_config(up(name)))
    assert prepare_config(up(name))["available_node_types"].keys() == up(name)["available_node_types"].keys()


@pytest.mark.parametrize("name", UP)
def test_the_head_stays_workers_are_spot_and_the_token_is_shared(name: str) -> None:
    cluster = up(name)
    spot = "InstanceMarketOptions" if name == "ray-aws.yaml" else "scheduling"
    for kind, node in cluster["available_node_types"].items():
        assert (spot in node["node_config"]) == (kind != "head")
        assert node["min_workers"] == 0
    assert cluster["max_workers"] == sum(n["max_workers"] for n in cluster["available_node_types"].values())
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    assert any("--dashboard-host=127.0.0.1" in command for command in cluster["head_start_ray_commands"])


# Images


def pins(name: str) -> dict[str, str]:
    lines = (CLUSTER / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def instructions() -> Iterator[tuple[str, str]]:
    """Of the Dockerfile: (instruction, words), lines joined."""
    text = re.sub(r"^#.*\n", "", (CLUSTER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word.upper(), " ".join(rest.split())


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Of the Dockerfile: by name, what a stage starts from and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            start, _, name = rest.split()
            found[name] = start, []
        elif found:
            found[list(found)[-1]][1].append((word, rest))
    return found


def test_images_have_a_pinned_base_and_no_root() -> None:
    found = stages()
    assert {"cpu", "gpu", "comet"} <= set(found)
    version = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)["PYTHON"]
    assert re.fullmatch(r"3\.11\.\d+-slim-\w+", version), "the minor version is that of the constraints files"
    assert found["base"][0] == "python:${PYTHON}"
    assert all(start in found for name, (start, _) in found.items() if name != "base")
    for name in ("cpu", "gpu", "comet"):
        assert found[name][1][-1] == ("USER", "1000")
    assert "latest" not in (CLUSTER / "Dockerfile").read_text()


def test_images_install_with_files_and_extras_that_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {
        "cpu-packages": ("constraints-vllm.txt", {"cluster"}),
        "gpu-packages": ("constraints-vllm.txt", {"vllm", "cluster"}),
        "comet": ("constraints.txt", {"comet"}),
    }
    for name, (file, packages) in wanted.items():
        commands = " ".join(rest for word, rest in stages()[name][1] if word == "RUN")
        assert set(re.findall(r"--constraint cluster/(\S+)", commands)) == {file}
        assert set(re.search(r"cluster/needs\.py ([\w ]+) \|", commands)[1].split()) == packages <= set(extras)  # type: ignore[index]
    copied = [path for _, rest in stages()["base"][1] if _ == "COPY" for path in rest.split()[:-1]]
    assert copied, "what decides on the packages is copied first"
    assert all((ROOT / path).exists() for path in copied)
    printed = subprocess.run([sys.executable, "cluster/needs.py", "comet"], cwd=ROOT, capture_output=True, text=True)
    assert set(extras["comet"]) < set(printed.stdout.splitlines())


def test_what_crosses_between_images_has_one_version() -> None:
    default, vllm = pins("constraints.txt"), pins("constraints-vllm.txt")
    assert default["ray"] == vllm["ray"]
    assert default["pyarrow"] == vllm["pyarrow"]
    for name in (
        "constraints.txt",
        "constraints-vllm.txt",
        "constraints-vllm-cpu.txt",
    ):
        for package in (
            "boto3",
            "google-api-python-client",
            "aiohttp-cors",
            "opencensus",
            "prometheus_client",
            "opentelemetry-exporter-prometheus",
            "virtualenv",
        ):
            assert package in pins(name), f"{name} pins all of the extra `cluster`"
