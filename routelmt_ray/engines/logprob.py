"""Computes how probable a given text is for a model, in one forward pass over prompt and text, without decoding."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import HARMLESS
from routelmt_ray.engines.answers import AnswerReader
from routelmt_ray.engines.batching import length_batches, run_batches
from routelmt_ray.engines.hf import FATAL, device_of, dtype_of, load_weights
from routelmt_ray.engines.prefill import all_states, pad_right
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import context_tokens, input_limit, prompt_encoder

END = -1
"""Mark of the end of an answer: any token that ends one."""
_LOGITS = 1 << 26
"""Most logits at a time, 256 MiB in float32. They need more memory than anything else."""


class Passage(NamedTuple):
    """The tokens that a model reads, and the targets that its predictions are compared with."""

    ids: Sequence[int]
    first: int
    """Position of the first prediction that counts. Those of the next positions follow, one for each target."""
    targets: Sequence[int]
    """Token ids that should be predicted, or :data:`END`; empty where there is nothing to read."""


class Means(NamedTuple):
    """Means over the targets of each passage, in nats, shape ``(passages,)``, float64; NaN without targets."""

    log_probability: np.ndarray
    entropy: np.ndarray
    """Entropy of the predictions; NaN where it was not requested."""


_NOTHING = Passage((), 0, ())


def translations(
    config: ModelConfig,
    sources: Sequence[str | None],
    source_langs: Sequence[str | None],
    target_langs: Sequence[str | None],
    texts: Sequence[str | None],
) -> list[Passage]:
    """Builds passages with each text as the answer to the translation prompt of the model, up to the end of the answer.
    User text never becomes a control token.

    A passage has no targets where a text or language is missing or unknown, where the prompt is too long for the model,
    or where prompt and text together do not fit into its context.
    """
    family, encoder = load_family(config.prompt), prompt_encoder(config)
    rows, contents = [], []
    for row, (source, codes, text) in enumerate(zip(sources, zip(source_langs, target_langs), texts)):
        source_name, target_name = family.names(codes[0] or "", codes[1] or "")
        if source is not None and text is not None and source_name is not None and target_name is not None:
            rows.append(row)
            contents.append(family.render(source, source_name, target_name))
    passages, limit, room = [_NOTHING] * len(texts), input_limit(config), context_tokens(config)
    answers = encoder.tokens([str(texts[row]) for row in rows])
    for row, prompt, answer in zip(rows, encoder.encode(contents), answers):
        if len(prompt) <= limit and len(prompt) + len(answer) <= room:
            passages[row] = Passage(prompt + answer, len(prompt) - 1, [*answer, END])
    return passages


class Reader:
    """One causal language model that reads passages in batches of similar length."""

    def __init__(self, config: ModelConfig) -> None:
        """Loads the model, without the adapter of a router. Raises ValueError if its logits are not a plain projection
        of its states."""
        torch.set_num_threads(config.threads)
        self._config, self._device = config, device_of(config)
        self._model: Any = load_weights(config, dtype_of(config, self._device)).to(self._device).eval()
        self._ends = sorted(AnswerReader.of(config, self._model.generation_config).ends)
        self._head = self._model.get_output_embeddings()
        self._check_head()

    @torch.inference_mode()
    def _check_head(self) -> None:
        """Refuses families that scale or cap their logits after the projection, as they would be read wrongly."""
        ids, _ = pad_right([self._ends[:1] * 2], 0, self._device)
        projected = self._head(all_states(self._model, ids)).float()
        if not torch.allclose(projected, self._model(input_ids=ids).logits.float(), rtol=0.02, atol=0.02):
            raise ValueError(
                f"{self._config.path}: its logits are not a plain projection of its last states (scaled or capped), so its "
                "log-probabilities cannot be read; choose another guard.logprob_model or guard.judge"
            )

    def read(self, passages: Sequence[Passage], entropy: bool = False) -> Means:
        """Reads passages; returns the means over the targets of each. If the model fails on one, only that one is NaN.
        The entropy of the predictions costs about as much as the softmax."""
        out = np.full((len(passages), 2), np.nan)
        rows = [i for i, passage in enumerate(passages) if passage.targets]
        lengths = [len(passages[i].ids) for i in rows]

        def run(batch: list[int]) -> list[np.ndarray]:
            return self._read_batch([passages[rows[i]] for i in batch], entropy)

        def failed(error: Exception) -> np.ndarray:
            return np.full(2, np.nan)

        def harmless() -> None:
            self._read_batch([Passage(HARMLESS.ids, 0, HARMLESS.ids[1:])], entropy)

        batches = length_batches(lengths, [0] * len(rows), len(rows), self._config.batch_tokens)
        for batch, means in run_batches(run, batches, failed, FATAL, harmless):
            out[[rows[i] for i in batch]] = means
        return Means(out[:, 0], out[:, 1])

    @torch.inference_mode()
    def _read_batch(self, passages: list[Passage], entropy: bool) -> list[np.ndarray]:
        ids, _ = pad_right([passage.ids for passage in passages], 0, self._device)
        states = all_states(self._model, ids)
        counts = [len(passage.targets) for passage in passages]
        positions = np.concatenate([np.arange(p.first, p.first + n) for p, n in zip(passages, counts)])
        rows = np.repeat(np.arange(len(passages)), counts)
        wanted = states[torch.from_numpy(rows).to(self._device), torch.from_numpy(positions).to(self._device)]
        targets = torch.tensor([target for passage in passages for target in passage.targets], device=self._device)
        step = max(1, _LOGITS // self._head.weight.shape[0])
        parts = [self._measure(w, t, entropy) for w, t in zip(wanted.split(step), targets.split(step))]
        values = torch.cat(parts).double().cpu().numpy()
        return [part.mean(0) for part in np.split(values, np.cumsum(counts)[:-1])]

    def _measure(self, states: torch.Tensor, targets: torch.Tensor, entropy: bool) -> torch.Tensor:
        """Log-probability of each target and entropy of each prediction, shape ``(targets, 2)``, float32."""
        logs = torch.log_softmax(self._head(states).float(), dim=-1)
        given = logs.gather(-1, targets.clamp(min=0)[:, None])[:, 0]
        found = torch.where(targets == END, logs[:, self._ends].logsumexp(-1), given)
        spread = -(logs.exp() * logs).sum(-1) if entropy else torch.full_like(found, torch.nan)
        return torch.stack((found, spread), dim=-1)
