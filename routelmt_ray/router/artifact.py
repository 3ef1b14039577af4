"""A trained router on disk: ``router.json``, ``head.safetensors`` and, with LoRA, ``adapter/``.

The head is linear, without bias, on the last prompt token of the last layer after the final norm: what vLLM's pooling
runner can serve. Intercept and scale stand in ``router.json``: ``gain = scale * (weight · state) + intercept``.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from routelmt_ray.prompts import load_family

FORMAT = 1


@dataclass(frozen=True)
class Router:
    """A loaded router."""

    weight: np.ndarray
    """Heads, shape ``(heads, hidden)``, float32."""
    heads: tuple[str, ...]
    """Name of each head; one of them is ``gain``."""
    scale: np.ndarray
    """Shape ``(heads,)``, float32."""
    intercept: np.ndarray
    """Shape ``(heads,)``, float32."""
    adapter: Path | None
    """LoRA folder, applied to the small model for probing only; None for a frozen probe."""
    spec: dict[str, Any]
    """All of router.json."""

    def predict(self, raw: np.ndarray, head: str = "gain") -> np.ndarray:
        """Calibrated predictions of one head.

        Args:
            raw: head outputs of an engine, shape ``(rows, heads)``, float32.
            head: which one.

        Returns:
            Shape ``(rows,)``, float32, on the 0–1 scale of the label metric.
        """
        column = self.heads.index(head)
        return (self.scale[column] * raw[:, column] + self.intercept[column]).astype(np.float32)


def load_router(path: str) -> Router:
    """Reads a router folder.

    Raises:
        ValueError: it is not a router, or one of a form this version cannot use.
    """
    folder = Path(path)
    try:
        spec = json.loads((folder / "router.json").read_text("utf-8"))
        weight = load_file(folder / "head.safetensors")["weight"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"router.path {path}: not a router folder: {error}") from None
    if spec.get("format") != FORMAT:
        raise ValueError(f"router.path {path}: format is {spec.get('format')!r}; this version reads format {FORMAT}")
    heads = tuple(spec["heads"])
    if weight.ndim != 2 or weight.shape[0] != len(heads) or "gain" not in heads:
        raise ValueError(f"router.path {path}: weight of shape {weight.shape} does not fit the heads {heads}")
    calibration = [spec["calibration"].get(head, {}) for head in heads]
    adapter = folder / "adapter"
    return Router(
        weight,
        heads,
        np.asarray([c.get("scale", 1.0) for c in calibration], np.float32),
        np.asarray([c.get("intercept", 0.0) for c in calibration], np.float32),
        adapter if adapter.is_dir() else None,
        spec,
    )


def check_match(router: Router, model_path: str, prompt: str) -> None:
    """Refuses a router that was trained on another model or another prompt.

    Raises:
        ValueError: naming both sides.
    """
    trained_on = router.spec["base_model"]
    weights = Path(model_path) / "model.safetensors"
    if "digest" in trained_on and weights.is_file() and (found := file_digest(weights)) != trained_on["digest"]:
        raise ValueError(
            f"router.path was trained on {trained_on.get('name')} (weights {trained_on['digest'][:12]}), but "
            f"models.small.path {model_path} has weights {found[:12]}; use that model, or train a router for this one"
        )
    family, trained_prompt = load_family(prompt), router.spec["prompt"]
    if family.template != trained_prompt["template"]:
        raise ValueError(
            f"router.path was trained with the prompt {trained_prompt['template']!r}, but models.small.prompt "
            f"{prompt} asks with {family.template!r}; use prompt family {trained_prompt['family']!r}"
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def folder_identity(path: str, revision: str | None) -> str:
    """What identifies the files of a model or router: a hash over names, sizes and edges, fast however large they are.

    Args:
        path: a folder, or a hub id.
        revision: hub revision.

    Returns:
        A short hex digest for a folder; ``hub:<id>@<revision>`` for a hub id.
    """
    if not os.path.isdir(path):
        return f"hub:{path}@{revision or 'main'}"
    digest = hashlib.sha256()
    for file in sorted(p for p in Path(path).rglob("*") if p.is_file() and not p.name.startswith(".")):
        size = file.stat().st_size
        with file.open("rb") as source:
            edge = source.read(1 << 16)
            source.seek(max(len(edge), size - (1 << 16)))
            digest.update(json.dumps([str(file.relative_to(path)), size]).encode() + edge + source.read())
    return digest.hexdigest()[:16]
