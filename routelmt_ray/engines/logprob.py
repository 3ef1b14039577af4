"""How probable a model finds given text: one forward pass over prompt and text, nothing decoded."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import HARMLESS
from routelmt_ray.engines.answers import Reading
from routelmt_ray.engines.batching import length_batches, run_batches
from routelmt_ray.engines.hf import FATAL, all_states, device_of, dtype_of, load_weights, pad_left
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import context_tokens, input_limit, prompt_encoder

END = -1
"""Stands for the end of an answer: any of the tokens that end one."""
_LOGITS = 1 << 26
"""Most logits at a time, 256 MiB in float32: they are the largest thing in memory."""


class Passage(NamedTuple):
    """What a model reads, and which of its predictions are compared with what."""

    ids: Sequence[int]
    """Token ids."""
    first: int
    """Position of the first prediction that counts; those of the next positions count too, one a target."""
    targets: Sequence[int]
    """What is predicted, token ids or :data:`END`; none where there is nothing to read."""


class Means(NamedTuple):
    """Means over the targets of each passage, in nats, shape ``(passages,)``, float64; NaN without targets."""

    log_probability: np.ndarray
    """Of the targets."""
    entropy: np.ndarray
    """Of the predictions; NaN where it was not asked for."""


_NOTHING = Passage((), 0, ())


def translations(
    config: ModelConfig,
    sources: Sequence[str | None],
    source_langs: Sequence[str | None],
    target_langs: Sequence[str | None],
    texts: Sequence[str | None],
) -> list[Passage]:
    """Each text as the answer to the model's own translation prompt, the end of the answer included.

    Args:
        config: the model; user text never becomes one of its control tokens.
        sources: source texts.
        source_langs: language codes of the sources.
        target_langs: language codes of the translations.
        texts: the translations.

    Returns:
        One passage a row; without targets where a text or language is missing or unknown, where the prompt is longer
        than the model takes, or where both together do not fit into its context.
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
    """One causal language model that reads passages in batches of like length."""

    def __init__(self, config: ModelConfig) -> None:
        """Loads the model, without any adapter of a router.

        Raises:
            ValueError: its logits are not a plain projection of its states.
        """
        torch.set_num_threads(config.threads)
        self._config, self._device = config, device_of(config)
        self._model: Any = load_weights(config, dtype_of(config, self._device)).to(self._device).eval()
        self._ends = sorted(Reading.of(config, self._model.generation_config).ends)
        self._head = self._model.get_output_embeddings()
        self._check_head()

    @torch.inference_mode()
    def _check_head(self) -> None:
        """Some families scale or cap their logits after the projection: they are refused, not misread."""
        inputs = pad_left([self._ends[:1] * 2], 0, self._device)
        projected = self._head(all_states(self._model, inputs)).float()
        if not torch.allclose(projected, self._model(**inputs).logits.float(), rtol=0.02, atol=0.02):
            raise ValueError(
                f"{self._config.path}: its logits are not a plain projection of its last states (scaled or capped); its "
                "log-probabilities cannot be read"
            )

    def read(self, passages: Sequence[Passage], entropy: bool = False) -> Means:
        """Means over the targets of each passage.

        Args:
            passages: what to read; a passage the model fails on is NaN alone.
            entropy: whether the entropy of the predictions is wanted too; it costs about as much as the softmax.
        """
        out = np.full((len(passages), 2), np.nan)
        rows = [i for i, passage in enumerate(passages) if passage.targets]
        lengths = [len(passages[i].ids) for i in rows]

        def run(batch: list[int]) -> list[np.ndarray]:
            return self._read_batch([passages[rows[i]] for i in batch], entropy)

        def failed(error: Exception) -> np.ndarray:
            return np.full(2, np.nan)

        def harmless() -> None:
            self._read_batch([Passage(HARMLESS.ids, 0, HARMLESS.ids[1:])], entropy)

        batches = length_batches(lengths, [0] * len(rows), self._config.batch_rows, self._config.batch_tokens)
        for batch, means in run_batches(run, batches, failed, FATAL, harmless):
            out[[rows[i] for i in batch]] = means
        return Means(out[:, 0], out[:, 1])

    @torch.inference_mode()
    def _read_batch(self, passages: list[Passage], entropy: bool) -> list[np.ndarray]:
        states = all_states(self._model, pad_left([passage.ids for passage in passages], 0, self._device))
        counts = [len(passage.targets) for passage in passages]
        width = states.shape[1]
        starts = [width - len(passage.ids) + passage.first for passage in passages]
        positions = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, counts)])
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
