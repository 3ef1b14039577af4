"""Inspects COMET checkpoints and the environment in which they run, without loading them."""

import importlib.util
import json
import logging
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from routelmt_ray.config.label import CometConfig
from routelmt_ray.engines.artifact import folder_identity
from routelmt_ray.runtime.provenance import ABSENT, installed

log = logging.getLogger(__name__)

NON_COMMERCIAL = "CC-BY-NC-SA-4.0"
UNKNOWN_LICENCE = "unknown"
_INSTALL = "pip install -c cluster/constraints.txt .[comet]"
_PACKAGES = ("ray", "unbabel-comet", "torch", "transformers", "pytorch-lightning", "numpy", "routelmt-ray")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_KINDS = {
    "regression_metric": True,
    "referenceless_regression_metric": False,
    "unified_metric": None,
    "xcomet_metric": None,
}
"""Class identifiers, and whether the class needs references; None where it works both ways."""


@dataclass(frozen=True)
class Checkpoint:
    """The facts about a COMET checkpoint, from its folder or the hub."""

    path: str
    """Folder, or hub id."""
    revision: str | None
    """Commit on the hub; None for a folder."""
    files: str
    """Identity of its files."""
    kind: str
    """Class identifier in hparams.yaml."""
    needs_reference: bool
    """True where it is used with references."""
    encoder: str
    """Name of the encoder it is built on."""
    licence: str
    """Licence of the weights, if the name or the class shows it; else ``unknown``."""

    @property
    def non_commercial(self) -> bool:
        return self.licence == NON_COMMERCIAL


def inspect_checkpoint(key: str, config: CometConfig, has_references: bool) -> Checkpoint:
    """Reads the facts about a checkpoint from its hparams.yaml; `has_references` decides where it works with and without.

    Raises ValueError where there is no such checkpoint, or this project cannot use its kind.
    """
    hparams_file, revision = _hparams_file(key, config)
    try:
        hparams = yaml.safe_load(hparams_file.read_text("utf-8"))
        kind, segments = hparams["class_identifier"], tuple(hparams.get("input_segments") or ())
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{key}.path {config.path}: hparams.yaml cannot be used: {error!r}") from None
    if kind not in _KINDS:
        raise ValueError(
            f"{key}.path {config.path}: class_identifier is {kind!r}; it must be one of {', '.join(_KINDS)}"
        )
    fixed = _KINDS[kind]
    if kind == "unified_metric":
        fixed = "ref" in segments if not {"src", "ref"} <= set(segments) else None
    wanted = config.use_reference
    if fixed is not None and wanted is not None and wanted != fixed:
        raise ValueError(
            f"{key}.use_reference is {wanted}, but {config.path} ({kind}) {'needs' if fixed else 'takes no'} references"
        )
    use = fixed if fixed is not None else has_references if wanted is None else wanted
    files = f"hub:{config.path}@{revision}" if revision else folder_identity(config.path, None)
    licence = _licence(config.path, kind, segments)
    return Checkpoint(config.path, revision, files, kind, bool(use), str(hparams.get("pretrained_model", "")), licence)


def reference_free(key: str, config: CometConfig) -> Checkpoint:
    """Reads the facts about a checkpoint that is used without references. Warns of a non-commercial licence.

    Raises ValueError where there is no such checkpoint, or it cannot be used without references.
    """
    checkpoint = inspect_checkpoint(key, config, has_references=False)
    if checkpoint.needs_reference:
        raise ValueError(
            f"{key}.path {config.path} ({checkpoint.kind}) needs references; name a reference-free checkpoint"
        )
    if checkpoint.non_commercial:
        log.warning(
            "%s.path %s: its weights are licensed %s, not for commercial use", key, config.path, checkpoint.licence
        )
    return checkpoint


def _hparams_file(key: str, config: CometConfig) -> tuple[Path, str | None]:
    if os.path.isdir(config.path):
        missing = [name for name in ("hparams.yaml", "checkpoints/model.ckpt") if not Path(config.path, name).is_file()]
        if missing:
            raise ValueError(f"{key}.path {config.path}: not a COMET checkpoint: it has no {' and no '.join(missing)}")
        return Path(config.path, "hparams.yaml"), None
    if not _HUB_ID.fullmatch(config.path):
        raise ValueError(f"{key}.path {config.path}: no such folder, and not a hub id such as Unbabel/wmt22-comet-da")
    from huggingface_hub import hf_hub_download

    try:
        found = Path(hf_hub_download(config.path, "hparams.yaml", revision=config.revision))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{key}.path {config.path}: not a folder here, and the hub does not give it: {error}"
        ) from None
    return found, found.parent.name  # the cache keeps a file in a folder named by its commit


def _licence(path: str, kind: str, segments: tuple[str, ...]) -> str:
    name = path.rstrip("/").lower()
    name = "/".join(name.split("/")[-2:])
    kiwi_form = kind == "unified_metric" and set(segments) == {"mt", "src"}
    if "cometkiwi" in name or "xcomet" in name or kind == "xcomet_metric" or kiwi_form:
        return NON_COMMERCIAL
    return "Apache-2.0" if re.search(r"wmt\d\d-comet-(da|qe-da)", name) else UNKNOWN_LICENCE


def environment(key: str, python: str | None) -> dict[str, str]:
    """Reads the package versions in the environment of a COMET pool, this one or that of an interpreter.

    Raises ValueError where a package is missing, or Ray cannot start a worker there.
    """
    here = package_versions()
    found = here if python is None else _ask(key, python)
    where = f"{key}.python {python}: its environment" if python else "this environment"
    if found["unbabel-comet"] == ABSENT:
        raise ValueError(
            f"{where} has no unbabel-comet, which {key} asks for; install it there with `{_INSTALL}`"
            + ("" if python else f", or name the Python of an environment that has it in {key}.python")
        )
    if found["routelmt-ray"] == ABSENT:
        raise ValueError(f"{where} has no routelmt-ray; install it there with `{_INSTALL}`")
    for name in ("python", "ray"):
        if found[name] != here[name]:
            raise ValueError(
                f"{where} has {name} {found[name]}, but the job runs with {here[name]}; Ray needs the same in both"
            )
    return found


def package_versions() -> dict[str, str]:
    """Reads the versions of Python and of the packages that affect a COMET score; ``absent`` for a missing package."""
    found = {"python": platform.python_version()} | {name: installed(name) for name in _PACKAGES}
    if importlib.util.find_spec("comet") is None:
        found["unbabel-comet"] = ABSENT
    return found


def _ask(key: str, python: str) -> dict[str, str]:
    # Only the standard library, so that an environment without this project can answer too.
    script = (
        "import importlib.metadata as m, json, platform, sys\n"
        "found = {'python': platform.python_version()}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: found[name] = 'absent'\n"
        "print(json.dumps(found))"
    )
    try:
        done = subprocess.run(
            [python, "-c", script, *_PACKAGES], capture_output=True, text=True, timeout=120, check=True
        )
        found: Any = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise ValueError(f"{key}.python {python}: does not run as a Python interpreter: {error}") from None
    return {str(name): str(version) for name, version in found.items()}
