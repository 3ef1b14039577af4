"""Scorers that look into the small model: trained routers, entropy, log-probability, win probability.

All of them run in this process, in batches of rows of similar length.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Prompt, open_probe
from routelmt_ray.engines.architecture import text_config
from routelmt_ray.engines.artifact import load_router
from routelmt_ray.engines.hf import device_of
from routelmt_ray.engines.logprob import Passage, Reader, translations
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.engines.tokenizers import input_limit, model_config, prompt_encoder
from routelmt_ray.evaluation.fits import fit_logistic
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.scorers import BASELINE, GAIN, RANK, ROUTER, Parts, Scored, Unavailable, device_clock


class Asked(NamedTuple):
    """The small model's prompt for a row."""

    ids: list[int]
    """Token ids; empty where the row cannot be asked (unknown language, too long)."""
    source: range
    """Positions of the tokens of the source text."""


def ask(rows: Labelled, config: ModelConfig) -> list[Asked]:
    """Builds the small model's prompts for labelled rows; raises Unavailable where a row has no language code."""
    _require_languages(rows)
    family, encoder, limit = load_family(config.prompt), prompt_encoder(config), input_limit(config)
    ahead = replace(family, template=family.template.partition("{text}")[0])
    contents, spans = [], []
    for text, source, target in zip(rows.sources, rows.source_langs, rows.target_langs):
        names = family.names(source or "", target or "")
        source_name, target_name = names[0] or "", names[1] or ""
        start = -1 if None in names else len(ahead.render("", source_name, target_name))
        contents.append(family.render(text, source_name, target_name))
        spans.append((start, start + len(text)))
    asked = []
    for found, (start, _) in zip(encoder.spans(contents, spans), spans):
        unfit = start < 0 or found is None or len(found[0]) > limit
        asked.append(Asked([], range(0)) if unfit or found is None else Asked(*found))
    return asked


def _require_languages(rows: Labelled) -> None:
    if None in rows.source_langs or None in rows.target_langs:
        raise Unavailable(
            "rows without a language code; name the columns or set labels.source_lang and labels.target_lang"
        )


class TrainedRouter:
    """A router of the train job: its gain head and, where it has them, its quality head (RouteLMT-Q) and its words alone."""

    def __init__(self, name: str, path: str, small: ModelConfig) -> None:
        """Loads the router's folder; the model is loaded when rows are scored. Raises ValueError where there is no router."""
        self._name, self._small, self.router = name, small, load_router(path)
        self.titles = {name: f"Gain router {name}"}
        if "quality" in self.router.heads:
            self.titles[f"{name}_quality"] = f"Quality router {name}"
        with suppress(ValueError):  # an older router has no words that can be used alone
            _ = self.router.words_alone
            self.titles[f"{name}_words"] = f"Words of {name}, no probe"

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by predicted gain, and by minus the small model's predicted quality; one prefill gives both."""
        probe, asked = open_probe(self._small, self.router).probe, ask(parts.rows, self._small)
        raw, seconds = _spread(asked, len(self.router.heads), probe, self._small)
        quality = self.router.predict(raw, "quality") if "quality" in self.router.heads else None
        method, words = "LoRA and head" if self.router.adapter is not None else "head on the frozen model", None
        note, words_s = f"{method}, predicts the gain", 0.0
        texts = parts.rows.sources, parts.rows.target_langs, [row.ids for row in asked]
        if self.router.words is not None:
            clock = device_clock(on_gpu=False)
            words = self.router.words(*texts)
            # A GPU does not wait for the words: they are computed where prompts are prepared.
            if device_of(self._small).type != "cuda":
                words_s = clock.seconds() / max(len(parts.rows), 1)
            note += ", with the words of the source"
        seconds += words_s
        gain, title = self.router.predict(raw, words=words), self.titles[self._name]
        found = [Scored(self._name, title, gain, GAIN, ROUTER, seconds, note=note, quality=quality)]
        if quality is not None:
            name = f"{self._name}_quality"
            note = f"{method}, predicts the small model's quality (RouteLMT-Q)"
            found.append(Scored(name, self.titles[name], -quality, RANK, ROUTER, seconds, note=note))
        if (name := f"{self._name}_words") in self.titles:
            note = "the router's table of words alone (router.kind=words)"
            gain = self.router.predict_by_words(*texts)
            found.append(Scored(name, self.titles[name], gain, GAIN, ROUTER, words_s, note=note))
        return found


def _spread(
    asked: Sequence[Asked], width: int, run: Callable[[list[Prompt]], np.ndarray], config: ModelConfig
) -> tuple[np.ndarray, float]:
    """Computes outputs (rows, width) of the rows that can be asked, and seconds for each; loading is not counted."""
    out, rows = np.full((len(asked), width), np.nan, np.float32), [i for i, a in enumerate(asked) if a.ids]
    clock = device_clock(device_of(config).type == "cuda")
    if rows:
        out[rows] = run([Prompt(asked[i].ids, 1, "") for i in rows])
    return out, clock.seconds() / max(len(rows), 1)


@dataclass(frozen=True)
class _OfSmallModel:
    """A scorer that looks into the small model."""

    small: ModelConfig
    """The small model, which is loaded when rows are scored."""


class WinProbability(_OfSmallModel):
    """The probability that the large model is better: logistic regression on the frozen model's prompt state."""

    titles: ClassVar[dict[str, str]] = {"win_probability": "Win probability"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by P(gain > 0), fitted on the train part."""
        fit, stop = parts.to_fit()
        engine, hidden = open_probe(self.small, None), text_config(model_config(self.small)).hidden_size
        states, seconds = [], 0.0
        for part in (fit, stop, parts.rows):
            found, seconds = _spread(ask(part, self.small), hidden, engine.states, self.small)
            states.append(found)
        model = fit_logistic(states[0], fit.gain > 0, states[1], stop.gain > 0)
        if model is None:
            raise Unavailable("the large model is better on all rows to fit on, or on none")
        note = "logistic regression on the frozen model's prompt state (RouteLLM, Hybrid LLM)"
        score = model(states[2])
        return [Scored("win_probability", self.titles["win_probability"], score, RANK, BASELINE, seconds, note=note)]


class Surprise(_OfSmallModel):
    """Scores how unsure the small model is of the source: entropy of its predictions, and perplexity, over the source tokens."""

    titles: ClassVar[dict[str, str]] = {"entropy": "Prompt entropy", "perplexity": "Source perplexity"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by mean entropy, and by mean negative log-probability of the source tokens, in nats."""
        passages = []
        for ids, source in ask(parts.rows, self.small):
            start = max(source.start, 1)  # a token at position 0 has nothing before it
            passages.append(Passage(ids, start - 1, ids[start : source.stop]))
        reader = Reader(self.small)
        clock = device_clock(device_of(self.small).type == "cuda")
        log_probability, entropy = reader.read(passages, entropy=True)
        seconds = clock.seconds() / max(sum(1 for passage in passages if passage.targets), 1)
        note = "mean over the source tokens; one prefill through the vocabulary projection"
        found = (("entropy", entropy), ("perplexity", -log_probability))
        return [
            Scored(name, self.titles[name], score.astype(np.float32), RANK, BASELINE, seconds, note=note)
            for name, score in found
        ]


class OutputLogProb(_OfSmallModel):
    """Scores how unsure the small model is of its output: a cascade."""

    titles: ClassVar[dict[str, str]] = {"logprob": "Output log-probability"}

    def __call__(self, parts: Parts) -> list[Scored]:
        """Scores rows by minus the mean log-probability of the output's tokens."""
        rows, outputs = parts.rows, parts.small_translations()
        _require_languages(rows)
        passages = translations(self.small, rows.sources, rows.source_langs, rows.target_langs, outputs)
        surprise = (-Reader(self.small).read(passages).log_probability).astype(np.float32)
        note = "a cascade: the small model translates every row first; the probability is a by-product"
        return [Scored("logprob", self.titles["logprob"], surprise, RANK, BASELINE, 0.0, True, note)]
