"""A trained router on disk: ``router.json``, ``head.safetensors``, with LoRA ``adapter/``, and perhaps a table of words.

The head is linear, without bias, on the last layer after the final norm: on the mean over the tokens of the prompt, or on
its last token. The pooling runner of vLLM can serve both. Scale and intercept are in ``router.json``: ``gain = scale * (weight · state + words) + intercept``.
``words`` is computed from the source text, the target language and the tokens of the prompt, outside any engine, by the table in
``words.safetensors``; it is 0 for a router without one. The table alone predicts the gain too, with another scale and
intercept, for jobs that do not probe.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from routelmt_ray.config.schema import LAST_TOKEN, MEAN
from routelmt_ray.engines.model_files import check_weights, local_folder, shaping_files
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.source_words import WordTable

FORMAT, FORMAT_WITH_WORDS, FORMAT_WITH_TOKENS = 1, 2, 3
"""Formats of a router's folder: without a table of words, with one, and with one that reads prompts. Versions that do not know of
these refuse them."""
LAYER = "last_after_final_norm"
"""Layer that a head reads: the only one that this version and an exported classifier support."""
_COPY = "copy the whole folder of the router again, or train it again"


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
    """The whole content of router.json."""
    words: WordTable | None = None
    """The table that adds to the output of the gain head for the words of the source; None adds nothing."""

    @property
    def pooling(self) -> str:
        """The tokens whose states the heads read: :data:`MEAN` or :data:`LAST_TOKEN`."""
        return str(self.spec.get("pooling", LAST_TOKEN))

    def predict(self, raw: np.ndarray, head: str = "gain", words: np.ndarray | None = None) -> np.ndarray:
        """Computes the calibrated predictions of one head: scale · (raw + words) + intercept; words count for the gain.

        Args:
            raw: head outputs of an engine, shape ``(rows, heads)``, float32.
            words: what the router's table of words gives for the source of each row, shape ``(rows,)``, float32; None
                for a router without a table.

        Returns:
            Shape ``(rows,)``, float32, on the 0–1 scale of the label metric.

        Raises:
            ValueError: the gain is asked of a router with a table of words, without them.
        """
        column = self.heads.index(head)
        output = raw[:, column]
        if head == "gain" and words is not None:
            output = output + words
        elif head == "gain" and self.words is not None:
            raise ValueError("words is None, but the gain of this router needs them: give what router.words computes")
        return (self.scale[column] * output + self.intercept[column]).astype(np.float32)

    @property
    def reads_prompts(self) -> bool:
        """True where the table of words reads the tokens of the small model's prompts."""
        return self.words is not None and len(self.words.tokens) > 0

    @property
    def words_alone(self) -> dict[str, Any]:
        """The calibration and the held-out figures of the table of words without the heads.

        Raises:
            ValueError: there is no such table, or it was trained before it could be used alone.
        """
        try:
            alone: dict[str, Any] = self.spec["words"]["alone"]
            fitted = alone["calibration"]["gain"]
            if np.isfinite([fitted["scale"], fitted["intercept"]]).all() and self.words is not None:
                return alone
        except (KeyError, TypeError):
            pass
        raise ValueError(
            "router.path names a router without a table of words that can be used alone, which router.kind=words needs; "
            "train it again with words=true, or set router.kind=probe"
        )

    def predict_by_words(
        self, texts: Sequence[str], languages: Sequence[str | None], prompts: Sequence[Sequence[int]] = ()
    ) -> np.ndarray:
        """Predicts the gain by the table of words alone, whose arguments it takes, without a model.

        Returns:
            Shape ``(texts,)``, float32, on the 0–1 scale of the label metric.

        Raises:
            ValueError: as :attr:`words_alone`.
        """
        fitted = self.words_alone["calibration"]["gain"]
        assert self.words is not None
        return (fitted["scale"] * self.words(texts, languages, prompts) + fitted["intercept"]).astype(np.float32)


def load_router(path: str) -> Router:
    """Reads a router folder. Raises ValueError if it is not a router, or this version cannot use its form."""
    folder = Path(path)
    try:
        spec = json.loads((folder / "router.json").read_text("utf-8"))
        weight = load_file(folder / "head.safetensors")["weight"].astype(np.float32)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"router.path {path}: not a router folder, or damaged: {error}; {_COPY}") from None
    version = spec.get("format") if isinstance(spec, dict) else None
    if version not in (FORMAT, FORMAT_WITH_WORDS, FORMAT_WITH_TOKENS):
        raise ValueError(
            f"router.path {path}: format is {version!r}; this version reads formats {FORMAT} to {FORMAT_WITH_TOKENS}: train it again"
        )
    try:
        heads = tuple(spec["heads"])
        read_at = (spec["layer"], spec["pooling"])
        calibration = [spec["calibration"].get(head, {}) for head in heads]
        scale, intercept = (
            np.asarray([float(c.get(key, default)) for c in calibration], np.float32)
            for key, default in (("scale", 1.0), ("intercept", 0.0))
        )
        _ = spec["base_model"]["name"], spec["prompt"]["template"]
        words = str(spec["words"]["digest"]) if version != FORMAT else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"router.path {path}: router.json is not complete: {type(error).__name__}: {error}; {_COPY}"
        ) from None
    if read_at not in ((LAYER, LAST_TOKEN), (LAYER, MEAN)):
        raise ValueError(
            f"router.path {path}: the head reads at {read_at}; this version reads {LAYER} at {LAST_TOKEN} or {MEAN}: train it again"
        )
    if weight.ndim != 2 or weight.shape[0] != len(heads) or "gain" not in heads:
        raise ValueError(f"router.path {path}: weight of shape {weight.shape} does not fit the heads {heads}; {_COPY}")
    if not all(np.isfinite(values).all() for values in (weight, scale, intercept)):
        raise ValueError(f"router.path {path}: weights or calibration are not finite; train it again")
    adapter = folder / "adapter"
    if adapter.is_dir():
        try:
            check_weights(adapter)
        except ValueError as error:
            raise ValueError(f"router.path {path}: adapter: {error}; {_COPY}") from None
    return Router(
        weight,
        heads,
        scale,
        intercept,
        adapter if adapter.is_dir() else None,
        spec,
        None if words is None else WordTable.read(folder, words),
    )


def check_match(router: Router, model_path: str, prompt: str, revision: str | None = None) -> None:
    """Refuses a router that was trained on another model or another prompt.

    The digests of the weights are compared where both are known. Otherwise the names and revisions are compared, as for
    a hub id that is not yet on this machine.
    """
    trained_on, fix = router.spec["base_model"], "use that model, or train a router for this one"
    wanted, found = trained_on.get("digest"), weights_digest(model_path, revision)
    if wanted and found:
        if wanted != found:
            raise ValueError(
                f"router.path was trained on {trained_on['name']} (weights {wanted[:12]}), but "
                f"models.small.path {model_path} has weights {found[:12]}; {fix}"
            )
    elif (trained_on["name"], trained_on.get("revision")) != (model_path, revision):
        raise ValueError(
            f"router.path was trained on {trained_on['name']} (revision {trained_on.get('revision')}), but "
            f"models.small.path is {model_path} (revision {revision}); {fix}"
        )
    family, trained_prompt = load_family(prompt), router.spec["prompt"]
    if family.template != trained_prompt["template"]:
        raise ValueError(
            f"router.path was trained with the prompt {trained_prompt['template']!r}, but models.small.prompt "
            f"{prompt} has {family.template!r}; use prompt family {trained_prompt.get('family')!r}"
        )
    if trained_prompt.get("digest") not in (None, family.digest()):
        raise ValueError(
            f"router.path was trained with another form of prompt family {trained_prompt.get('family')!r}: chat markers, "
            f"chat options or language names differ from those of models.small.prompt {prompt}; use that form, or train the router again"
        )


def weights_digest(model_path: str, revision: str | None = None) -> str | None:
    """Computes the SHA-256 of the safetensors weights of a model, hex; None where they are not on this machine.
    `model_path` is a folder, or a hub id whose files the local cache may hold."""
    folder = local_folder(model_path, revision)
    if folder is None:
        return None
    digests = [file_digest(path) for path in sorted(folder.glob("*.safetensors"))]
    if len(digests) <= 1:
        return digests[0] if digests else None
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Computes the SHA-256 of a file, hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def folder_identity(path: str, revision: str | None, whole: bool = False) -> str:
    """Computes an identity of the files of a model or router that affect its answers: a short hex digest for a folder,
    ``hub:<id>@<revision>`` for a hub id.

    It is a hash over their names, their sizes, and the first and last 64 KiB of each, so large files cost little; with
    `whole`, over all bytes.
    """
    if not os.path.isdir(path):
        return f"hub:{path}@{revision or 'main'}"
    digest = hashlib.sha256()
    for file in shaping_files(Path(path)):
        if whole:
            digest.update(json.dumps([str(file.relative_to(path)), file_digest(file)]).encode())
            continue
        size = file.stat().st_size
        with file.open("rb") as source:
            edge = source.read(1 << 16)
            source.seek(max(len(edge), size - (1 << 16)))
            digest.update(json.dumps([str(file.relative_to(path)), size]).encode() + edge + source.read())
    return digest.hexdigest()[:16]
