"""Scorers that look into the small model: trained routers, entropy, log-probability, win probability.

All of them run in this process, in batches of like length.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from routelmt_ray.config import ModelConfig
from routelmt_ray.engines import Prompt, open_probe
from routelmt_ray.engines.batching import length_batches
from routelmt_ray.engines.hf import device_of, load_weights
from routelmt_ray.engines.tokenizers import context_tokens, input_limit, load_tokenizer, prompt_encoder
from routelmt_ray.evaluation.fits import fit_logistic
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.scorers import BASELINE, GAIN, RANK, ROUTER, Parts, Scored, Unavailable
from routelmt_ray.prompts import load_family
from routelmt_ray.router.artifact import Router, load_router

_POSITIONS = 4096
"""Positions put through the vocabulary projection at a time: logits are the largest thing in memory."""


class Asked(NamedTuple):
    """The small model's prompt for a row."""

    ids: list[int]
    """Token ids; empty where the row cannot be asked (unknown language, too long)."""
    source: range
    """Positions of the tokens of the source text."""


def ask(rows: Labelled, config: ModelConfig) -> list[Asked]:
    """Prompts of the small model for labelled rows."""
    if None in rows.source_langs or None in rows.target_langs:
        raise Unavailable(
            "rows without a language code; name the columns or set labels.source_lang and labels.target_lang"
        )
    family, encoder, limit = load_family(config.prompt), prompt_encoder(config), input_limit(config)
    ahead = replace(family, template=family.template.partition("{text}")[0])
    contents, spans = [], []
    for text, source, target in zip(rows.sources, rows.source_langs, rows.target_langs):
        names = family.names(source or "", target or "")
        source_name, target_name = names[0] or "", names[1] or ""
        start = -1 if None in names else len(ahead.render("", source_name, target_name))
        contents.append(family.render(text, source_name, target_name))
        spans.append((start, start + len(text)))
    before = _common_prefix(encoder.encode(["a", "b c"]))
    bodies = load_tokenizer(config)(
        contents, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    asked = []
    for ids, offsets, (start, stop) in zip(encoder.encode(contents), bodies["offset_mapping"], spans):
        inside = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start and b > a]
        if start < 0 or not inside or len(ids) > limit:
            asked.append(Asked([], range(0)))
        else:
            asked.append(Asked(ids, range(before + inside[0], before + inside[-1] + 1)))
    return asked


def _common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    return next(i for i, (a, b) in enumerate(zip(*prompts)) if a != b)


class TrainedRouter:
    """A router of the train job: its gain head and, where it has one, its quality head (RouteLMT-Q)."""

    def __init__(self, name: str, path: str, small: ModelConfig) -> None:
        """Args: name in the report, router folder, small model.

        Raises:
            ValueError: not a router folder.
        """
        self._name, self._small, self.router = name, small, load_router(path)
        self.titles = {name: f"Gain router {name}"}
        if "quality" in self.router.heads:
            self.titles[f"{name}_quality"] = f"Quality router {name}"

    def __call__(self, parts: Parts) -> list[Scored]:
        """Predicted gain, and minus the predicted quality of the small model; one prefill gives both."""
        raw, seconds = _probe(self.router, ask(parts.rows, self._small), self._small)
        quality = self.router.predict(raw, "quality") if "quality" in self.router.heads else None
        method = "LoRA and head" if self.router.adapter is not None else "head on the frozen model"
        note = f"{method}, predicts the gain"
        found = [
            Scored(
                self._name,
                self.titles[self._name],
                self.router.predict(raw),
                GAIN,
                ROUTER,
                seconds,
                False,
                note,
                quality,
            )
        ]
        if quality is not None:
            name = f"{self._name}_quality"
            note = f"{method}, predicts the small model's quality (RouteLMT-Q)"
            found.append(Scored(name, self.titles[name], -quality, RANK, ROUTER, seconds, note=note))
        return found


def _probe(router: Router, asked: Sequence[Asked], config: ModelConfig) -> tuple[np.ndarray, float]:
    """Head outputs (rows, heads) and seconds a row; loading is not counted."""
    engine = open_probe(config, router)
    return _spread(asked, len(router.heads), lambda prompts: engine.probe(prompts))


def _spread(asked: Sequence[Asked], width: int, run: Callable[[list[Prompt]], np.ndarray]) -> tuple[np.ndarray, float]:
    out, rows = np.full((len(asked), width), np.nan, np.float32), [i for i, a in enumerate(asked) if a.ids]
    start = time.perf_counter()
    if rows:
        out[rows] = run([Prompt(asked[i].ids, 1, "") for i in rows])
    return out, (time.perf_counter() - start) / max(len(rows), 1)


class WinProbability:
    """The probability that the large model is better: logistic regression on the frozen model's prompt state."""

    titles: ClassVar[dict[str, str]] = {"win_probability": "Win probability"}

    def __init__(self, small: ModelConfig) -> None:
        """Args: the small model."""
        self._small = small

    def __call__(self, parts: Parts) -> list[Scored]:
        """P(gain > 0), fitted on the train part."""
        fit, stop = parts.fit, parts.stop
        if fit is None or stop is None:
            raise Unavailable("there are no rows to fit it on")
        engine, hidden = open_probe(self._small, None), _hidden_size(self._small)
        states, seconds = [], 0.0
        for part in (fit, stop, parts.rows):
            found, seconds = _spread(ask(part, self._small), hidden, engine.states)
            states.append(found)
        model = fit_logistic(states[0], fit.gain > 0, states[1], stop.gain > 0)
        if model is None:
            raise Unavailable("the large model is better on all rows to fit on, or on none")
        note = "logistic regression on the frozen model's prompt state (RouteLLM, Hybrid LLM)"
        return [
            Scored(
                "win_probability", self.titles["win_probability"], model(states[2]), RANK, BASELINE, seconds, note=note
            )
        ]


def _hidden_size(config: ModelConfig) -> int:
    from transformers import AutoConfig

    loaded = AutoConfig.from_pretrained(
        config.path, revision=config.revision, trust_remote_code=config.trust_remote_code
    )
    return int(loaded.hidden_size)


class Surprise:
    """How sure the small model is of the source: entropy of its predictions and perplexity over the source tokens."""

    titles: ClassVar[dict[str, str]] = {"entropy": "Prompt entropy", "perplexity": "Source perplexity"}

    def __init__(self, small: ModelConfig) -> None:
        """Args: the small model."""
        self._small = small

    def __call__(self, parts: Parts) -> list[Scored]:
        """Mean predictive entropy, and mean negative log-probability of the source tokens, in nats."""
        asked = ask(parts.rows, self._small)
        (entropy, surprise), seconds = _read_logits(self._small, [a.ids for a in asked], [a.source for a in asked])
        note = "mean over the source tokens; one prefill through the vocabulary projection"
        return [
            Scored("entropy", "Prompt entropy", entropy, RANK, BASELINE, seconds, note=note),
            Scored("perplexity", "Source perplexity", surprise, RANK, BASELINE, seconds, note=note),
        ]


class OutputLogProb:
    """How sure the small model is of its own output: a cascade."""

    titles: ClassVar[dict[str, str]] = {"logprob": "Output log-probability"}

    def __init__(self, small: ModelConfig) -> None:
        """Args: the small model."""
        self._small = small

    def __call__(self, parts: Parts) -> list[Scored]:
        """Minus the mean log-probability of the output's tokens."""
        outputs = parts.rows.texts.get("small_translation")
        if outputs is None:
            raise Unavailable("the set has no column small_translation")
        tokenizer = load_tokenizer(self._small)
        asked, room = ask(parts.rows, self._small), context_tokens(self._small)
        end = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        ids, spans = [], []
        for a, text in zip(asked, outputs):
            body = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] if text else []
            whole = a.ids + body + end if a.ids and text is not None else []
            ids.append(whole if len(whole) <= room else [])
            spans.append(range(len(a.ids), len(whole)))
        (_, surprise), _ = _read_logits(self._small, ids, spans)
        note = "a cascade: the small model translates every row first; the probability is a by-product"
        return [Scored("logprob", self.titles["logprob"], surprise, RANK, BASELINE, 0.0, True, note)]


@torch.inference_mode()
def _read_logits(
    config: ModelConfig, sequences: Sequence[list[int]], spans: Sequence[range]
) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    """Mean entropy and mean negative log-probability of the tokens in each span, (rows,) float32; seconds a row.

    An empty sequence gives NaN. A token at position 0 has nothing before it and is left out.
    """
    torch.set_num_threads(config.threads)
    device = device_of(config)
    dtype = config.dtype if config.dtype != "auto" else "bfloat16" if device.type == "cuda" else "float32"
    model: Any = load_weights(config, getattr(torch, dtype)).to(device).eval()
    out = np.full((2, len(sequences)), np.nan, np.float32)
    rows = [i for i, ids in enumerate(sequences) if ids]
    start = time.perf_counter()
    lengths = [len(sequences[i]) for i in rows]
    for batch in length_batches(lengths, [0] * len(rows), config.batch_rows, config.batch_tokens):
        chosen = [rows[i] for i in batch]
        width = max(len(sequences[i]) for i in chosen)
        ids = torch.zeros((len(chosen), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for at, i in enumerate(chosen):
            ids[at, : len(sequences[i])] = torch.tensor(sequences[i])
            mask[at, : len(sequences[i])] = 1
        hidden = model.base_model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)[0]
        at_row = [at for at, i in enumerate(chosen) for t in spans[i] if t > 0]
        at_token = [t for i in chosen for t in spans[i] if t > 0]
        values = _entropy_and_surprise(
            model, hidden[at_row, [t - 1 for t in at_token]], ids[at_row, at_token].to(device)
        )
        counts = np.bincount(at_row, minlength=len(chosen))
        with np.errstate(invalid="ignore"):
            for kind in (0, 1):
                out[kind, chosen] = np.bincount(at_row, values[kind], len(chosen)) / counts
    seconds = (time.perf_counter() - start) / max(len(rows), 1)
    del model
    gc.collect()
    return (out[0], out[1]), seconds


def _entropy_and_surprise(model: Any, states: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    """Entropy of the prediction at each state, and minus the log-probability of its target, shape (2, states)."""
    head, parts = model.get_output_embeddings(), [np.zeros((2, 0))]
    for first in range(0, len(states), _POSITIONS):
        logs = torch.log_softmax(head(states[first : first + _POSITIONS]).float(), dim=-1)
        entropy = -(logs.exp() * logs).sum(-1)
        surprise = -logs.gather(-1, targets[first : first + _POSITIONS, None])[:, 0]
        parts.append(torch.stack((entropy, surprise)).double().cpu().numpy())
    return np.concatenate(parts, axis=1)
