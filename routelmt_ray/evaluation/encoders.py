"""External encoders that see only the source: XLM-R-Delta (predicts the gain) and PreQuEL (predicts the quality).

The encoder stays frozen. Its last layer is averaged over the tokens, the language pair is added as an indicator, and a
ridge regression predicts from these features. A fine-tuned encoder can do better: the figures are a lower bound.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from routelmt_ray.engines.batching import length_batches
from routelmt_ray.engines.light_transformers import transformers
from routelmt_ray.evaluation.fits import fit_ridge
from routelmt_ray.evaluation.scorers import BASELINE, GAIN, RANK, Parts, Scored, Unavailable, device_clock

_BATCH_ROWS, _BATCH_TOKENS = 64, 16_384


class EncoderRegressors:
    """Gain and quality predicted from an encoder's pooled states of the source."""

    titles: ClassVar[dict[str, str]] = {"encoder_gain": "Encoder, gain", "encoder_quality": "Encoder, quality"}

    def __init__(self, path: str, most_tokens: int, device: str, threads: int) -> None:
        """Keeps the settings; the encoder is loaded when rows are scored. Texts of more tokens are cut."""
        self._path, self._most, self._threads = path, most_tokens, threads
        self._device = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by predicted gain, and by minus the predicted quality of the small model."""
        fit, stop = parts.to_fit()
        torch.set_num_threads(self._threads)
        tokenizer = transformers.AutoTokenizer.from_pretrained(self._path, use_fast=True)
        model = transformers.AutoModel.from_pretrained(self._path, use_safetensors=True).to(self._device).eval()
        pairs = sorted({pair for part in (fit, stop, parts.rows) for pair in part.pairs})
        features, seconds = [], 0.0
        for part in (fit, stop, parts.rows):
            states, seconds = self._states(tokenizer, model, part.sources)
            ones = np.array([[pair == other for other in pairs] for pair in part.pairs], np.float32)
            features.append(np.concatenate((states, ones * np.nanstd(states)), axis=1))
        targets = {"encoder_gain": (fit.gain, stop.gain), "encoder_quality": (fit.quality_small, stop.quality_small)}
        about = {"encoder_gain": (1, GAIN, "XLM-R-Delta"), "encoder_quality": (-1, RANK, "PreQuEL")}
        found = []
        for name, (y, held_y) in targets.items():
            predict = None if y is None or held_y is None else fit_ridge(features[0], y, features[1], held_y)
            if predict is not None:
                sign, unit, other = about[name]
                note = f"frozen encoder, pooled states, ridge regression (as {other})"
                score = sign * predict(features[2])
                found.append(Scored(name, self.titles[name], score, unit, BASELINE, seconds, note=note))
        if not found:
            raise Unavailable("there are too few rows to fit it on")
        return found

    @torch.inference_mode()
    def _states(self, tokenizer: Any, model: Any, texts: list[str]) -> tuple[np.ndarray, float]:
        """Averages the last layer over each text's tokens, (rows, hidden) float32; also returns seconds per row."""
        encoded = tokenizer(texts, truncation=True, max_length=self._most)["input_ids"]
        pad = tokenizer.pad_token_id or 0
        out = np.full((len(texts), model.config.hidden_size), np.nan, np.float32)
        clock = device_clock(self._device.type == "cuda")
        for rows in length_batches([len(ids) for ids in encoded], [0] * len(texts), _BATCH_ROWS, _BATCH_TOKENS):
            ids = pad_sequence([torch.tensor(encoded[i]) for i in rows], batch_first=True, padding_value=pad)
            lengths = torch.tensor([len(encoded[i]) for i in rows])
            mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).to(self._device)
            states = model(input_ids=ids.to(self._device), attention_mask=mask.long())[0].float()
            weight = mask[:, :, None].float()
            out[rows] = ((states * weight).sum(1) / weight.sum(1).clamp(min=1)).cpu().numpy()
        return out, clock.seconds() / max(len(texts), 1)
