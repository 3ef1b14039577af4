"""The parts of the train job around its fits: its checks, the router's folder and its facts."""

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.train import TrainConfig
from routelmt_ray.engines.artifact import FORMAT, FORMAT_WITH_TOKENS, FORMAT_WITH_WORDS, LAYER, weights_digest
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.source_words import FILE
from routelmt_ray.engines.translators import check_model
from routelmt_ray.router.calibration import calibrate, held_out_figures, quality_figures
from routelmt_ray.router.fit import Fit
from routelmt_ray.router.labels import TrainingRows, read_training_rows
from routelmt_ray.router.states import model_files
from routelmt_ray.router.words import fit_words
from routelmt_ray.runtime.provenance import now, versions

log = logging.getLogger(__name__)

_METHODS = 5
"""Raised when the same settings give another router. 2: words of the source. 3: and the target language beside them.
4: a calibration of the words alone. 5: the tokens of the prompt."""


@dataclass(frozen=True)
class TrainPreparation:
    """A configuration that was accepted, and its rows."""

    config: TrainConfig
    rows: TrainingRows
    fingerprint: str
    """Hash of data, model, method and settings, which identifies the trained router."""


def prepare(config: TrainConfig) -> TrainPreparation:
    """Reads the labels, runs all checks that need no model in memory, and raises ValueError where the job is refused."""
    out = Path(config.out)
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "router.json").is_file()):
        raise ValueError(f"out {out}: has files but no router.json: not a router's folder; name a new or empty folder")
    check_model("small", config.small)
    rows = read_training_rows(config)
    if rows.dropped:
        log.warning("rows left out: %s", ", ".join(f"{n} {reason}" for reason, n in rows.dropped.items()))
    preparation = TrainPreparation(config, rows, _fingerprint(config, rows))
    if (out / "router.json").is_file() and not is_finished(preparation) and not config.overwrite:
        raise ValueError(
            f"out {out} already holds a router that was trained with other settings; name a new folder, or set overwrite=true"
        )
    return preparation


def _fingerprint(config: TrainConfig, rows: TrainingRows) -> str:
    method = configlib.to_dict(config.probe if config.method == "probe" else config.lora)
    method.pop("checkpoint_every", None)
    model = model_files(config.small) | {"prompt": load_family(config.small.prompt).digest()}
    whole = [
        _METHODS,
        config.words,
        config.pooling,
        config.method,
        method,
        config.heads,
        config.labels.metric,
        config.seed,
        model,
        rows.digest,
    ]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def is_finished(preparation: TrainPreparation) -> bool:
    """Tells whether ``out`` has a finished router with the fingerprint of this training."""
    path = Path(preparation.config.out) / "router.json"
    try:
        spec = storage.read_json(path)
        return bool(spec["training"]["fingerprint"] == preparation.fingerprint)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def publish(preparation: TrainPreparation, fit: Fit, seconds: float) -> dict[str, Any]:
    """Calibrates and measures a fit, writes its folder as a whole, and returns the content of router.json.

    After an error there is no new folder. `seconds` are those of the training, extraction of states included.
    """
    config, rows = preparation.config, preparation.rows
    with storage.new_folder(Path(config.out).absolute()) as folder:
        if fit.save_adapter is not None:
            fit.save_adapter(folder / "adapter")
        wanted = np.flatnonzero(rows.parts != "train")
        raw, gain = fit.predict(wanted, folder), config.heads.index("gain")
        stop, measured = rows.parts[wanted] == "stop", rows.parts[wanted] != "stop"
        words, fitted = None, dict[str, Any]()
        if config.words:
            from routelmt_ray.engines.hf import token_embeddings  # imports torch, which the checks before do not need

            asked = rows.part("train"), wanted[stop], raw[stop, gain], token_embeddings(config.small)
            words, fitted = fit_words(rows.sources, rows.targets[:, gain], *asked)
        wanted, raw = wanted[measured], raw[measured]
        spec = _facts(preparation, fit, seconds) | _measured(rows, config.heads, wanted, raw)
        spec["training"]["words"] = fitted
        if words is not None:
            content = words.to_bytes()
            (folder / FILE).write_bytes(content)
            without = {key: spec[key] for key in ("calibration", "held_out")}
            said = words(*rows.sources.take(wanted))
            gains = replace(rows, targets=rows.targets[:, [gain]])
            alone = _measured(gains, ["gain"], wanted, said[:, None])
            raw[:, gain] += said
            spec |= _measured(rows, config.heads, wanted, raw)
            spec["format"] = FORMAT_WITH_TOKENS if len(words.tokens) else FORMAT_WITH_WORDS
            spec["words"] = {"digest": hashlib.sha256(content).hexdigest(), "without": without, "alone": alone}
        (folder / "head.safetensors").write_bytes(save({"weight": fit.head}))
        storage.write_json(folder / "router.json", spec)
    return spec


def _measured(rows: TrainingRows, heads: list[str], wanted: np.ndarray, raw: np.ndarray) -> dict[str, Any]:
    """Calibrates outputs, shape ``(len(wanted), heads)``, on the calibration part, and measures them on the test part."""
    labels, calibrating = rows.targets[wanted], rows.parts[wanted] == "calibration"
    calibration, held_out = {}, dict[str, Any]()
    for i, head in enumerate(heads):
        calibration[head] = calibrate(raw[calibrating, i], labels[calibrating, i], head)
        predicted = calibration[head]["scale"] * raw[~calibrating, i] + calibration[head]["intercept"]
        if head == "gain":
            held_out |= held_out_figures(predicted, labels[~calibrating, i])
        else:
            held_out[head] = quality_figures(predicted, labels[~calibrating, i])
    return {"calibration": calibration, "held_out": held_out}


def _facts(preparation: TrainPreparation, fit: Fit, seconds: float) -> dict[str, Any]:
    config, rows, small = preparation.config, preparation.rows, preparation.config.small
    family = load_family(small.prompt)
    return {
        "format": FORMAT,
        "method": config.method,
        "base_model": {
            "name": small.path,
            "revision": small.revision,
            "digest": weights_digest(small.path, small.revision),
        },
        "prompt": {"family": family.name, "template": family.template, "digest": family.digest()},
        "layer": LAYER,
        "pooling": config.pooling,
        "heads": list(config.heads),
        "label": {"metric": config.labels.metric, "scale": "0-1"},
        "training": {
            "rows": len(rows.prompts),
            "rows_read": rows.rows_read,
            "left_out": rows.dropped,
            "seed": config.seed,
            "split": {
                "seed": config.split.seed,
                "shares": list(config.split.shares),
                "rows": rows.counts(),
                "by": "document" if config.labels.columns.document else "source text",
            },
            "data": rows.digest,
            "fingerprint": preparation.fingerprint,
            "seconds": round(seconds, 1),
            "finished": now(),
            "versions": versions(),
            **fit.facts,
        },
    }
