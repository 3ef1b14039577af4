"""Runs COMET (Rei et al. 2020) on one device, in batches of similar length, without a trainer.

The ``predict()`` of unbabel-comet builds a trainer at every call, sorts by characters of the source, and starts more
processes for several GPUs. Here a loaded checkpoint stays on its device, and a failure affects only its segment.
"""

import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from routelmt_ray.config.label import CometConfig
from routelmt_ray.engines.batching import length_batches, run_batches
from routelmt_ray.metrics import Texts
from routelmt_ray.metrics.checkpoint import Checkpoint
from routelmt_ray.metrics.segments import measure

log = logging.getLogger(__name__)

# After these the CUDA context is lost and the actor must be replaced.
_FATAL: tuple[type[BaseException], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()


class Comet:
    """One COMET checkpoint on one device. Its scores are about 0 to 1 and not clipped."""

    def __init__(self, name: str, config: CometConfig, checkpoint: Checkpoint) -> None:
        """Loads the checkpoint; raises ValueError where it holds more than weights, and the configuration does not allow it."""
        from comet import load_from_checkpoint

        torch.set_num_threads(config.threads)
        self.needs_reference = checkpoint.needs_reference
        self._config, self._checkpoint = config, checkpoint
        self._device = torch.device(
            config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        )
        folder = Path(config.path)
        if checkpoint.revision is not None:
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(config.path, revision=checkpoint.revision))
        path = folder / "checkpoints" / "model.ckpt"
        try:
            with _loading(pickle_allowed=config.allow_pickle):
                model: Any = load_from_checkpoint(str(path))
        except pickle.UnpicklingError as error:
            if config.allow_pickle:
                raise
            raise ValueError(
                f"{path} is damaged or holds more than weights, and loading it could run any code; if you trust whoever made "
                f"it, set allow_pickle=true beside the path of {name}"
            ) from error
        self._model = model.to(self._device).eval()

    def segment_scores(self, sources: Texts, hypotheses: Texts, references: Texts) -> np.ndarray:
        """Computes the score of each segment; see :class:`routelmt_ray.metrics.Metric`."""
        compared = references if self.needs_reference else None

        def scores(rows: list[int]) -> list[float]:
            samples = [{"src": sources[i] or "", "mt": hypotheses[i] or ""} for i in rows]
            if self.needs_reference:
                for sample, i in zip(samples, rows):
                    sample["ref"] = references[i] or ""
            return self._score(samples)

        return measure(hypotheses, compared, scores)

    def _score(self, samples: list[dict[str, str]]) -> list[float]:
        out = [float("nan")] * len(samples)
        lengths = self._lengths(samples)
        config = self._config

        def run(rows: list[int]) -> list[float]:
            return self._score_batch([samples[i] for i in rows])

        def harmless() -> None:
            self._score_batch([dict.fromkeys(samples[0], "a")])

        batches = length_batches(lengths, [0] * len(samples), config.batch_rows, config.batch_tokens)
        for rows, scores in run_batches(run, batches, lambda _: float("nan"), _FATAL, harmless):
            for row, score in zip(rows, scores):
                out[row] = score
        return out

    def _lengths(self, samples: list[dict[str, str]]) -> list[int]:
        """Number of tokens of all texts of a sample. Each text counts up to the length at which the encoder cuts it."""
        tokenizer, most = self._model.encoder.tokenizer, self._model.encoder.max_positions
        totals = [0] * len(samples)
        for part in samples[0]:
            for row, ids in enumerate(tokenizer([sample[part] for sample in samples])["input_ids"]):
                totals[row] += min(len(ids), most)
        return totals

    def _score_batch(self, samples: list[dict[str, str]]) -> list[float]:
        # predict_step is forward() on prepared inputs; it also joins several scores where a class does so (XCOMET)
        with torch.inference_mode():
            batch = _to(self._model.prepare_for_inference(samples), self._device)
            scores: list[float] = self._model.predict_step(batch)["scores"].float().cpu().tolist()
        return scores

    def signature(self) -> str:
        """Lists versions, class and checkpoint, as scores change with each of them."""
        found = {
            "version": metadata.version("unbabel-comet"),
            "torch": torch.__version__,
            "transformers": metadata.version("transformers"),
            "class": self._checkpoint.kind,
            "checkpoint": self._checkpoint.files,
            "ref": "yes" if self.needs_reference else "no",
            "clip": "no",
        }
        return "COMET|" + "|".join(f"{key}:{value}" for key, value in found.items())


@contextmanager
def _loading(pickle_allowed: bool) -> Iterator[None]:
    """Tells torch whether a file may hold more than weights.

    unbabel-comet does not pass on this choice, and the default of Lightning depends on its version.
    """
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" if pickle_allowed else "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _to(inputs: Any, device: torch.device) -> Any:
    """Moves every tensor of nested inputs to a device."""
    if isinstance(inputs, torch.Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {key: _to(value, device) for key, value in inputs.items()}
    return type(inputs)(_to(value, device) for value in inputs) if isinstance(inputs, tuple | list) else inputs
