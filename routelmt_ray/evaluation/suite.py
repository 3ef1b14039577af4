"""Chooses the scorers of an evaluation and runs them one after the other."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from routelmt_ray.config.evaluate import EvaluateConfig
from routelmt_ray.engines.artifact import check_match
from routelmt_ray.evaluation.rival_gains import LEAST_ROWS, calibrate_to_gain
from routelmt_ray.evaluation.scorers import (
    CONSTANT,
    LENGTH,
    NO_ORDER,
    ORACLE,
    RANDOM,
    RANK,
    TOKENS,
    Oracles,
    Parts,
    Rarity,
    Scored,
    Scorer,
    Unavailable,
    column,
)

log = logging.getLogger(__name__)


def list_scorers(config: EvaluateConfig) -> tuple[list[Scorer], list[dict[str, str]]]:
    """Builds the scorers that the configuration asks for, and lists those that it leaves out, with the reason.

    Raises:
        ValueError: a router folder is not one, or was trained on another model or prompt; COMET is asked for and not
            installed; two scorers have one name; `reference` names no scorer.
    """
    wanted, scorers = config.scorers, list[Scorer]()
    left_out: list[dict[str, str]] = []

    def leave_out(reason: str, **titles: str) -> None:
        left_out.extend({"name": name, "title": title, "reason": reason} for name, title in titles.items())

    if wanted.routers:
        from routelmt_ray.evaluation.lm_scorers import TrainedRouter

        for name, path in wanted.routers.items():
            try:
                router = TrainedRouter(name, path, config.small)
                check_match(router.router, config.small.path, config.small.prompt)
            except ValueError as error:
                raise ValueError(str(error).replace("router.path", f"scorers.routers.{name}")) from None
            scorers.append(router)
    if config.small.path:
        from routelmt_ray.evaluation.lm_scorers import OutputLogProb, Surprise, WinProbability

        optional: list[tuple[bool, str, Callable[..., Scorer]]] = [
            (wanted.win_probability, "win_probability", WinProbability),
            (wanted.entropy, "entropy", Surprise),
            (wanted.logprob, "logprob", OutputLogProb),
        ]
        for asked, key, build in optional:
            scorer = build(config.small)
            if asked:
                scorers.append(scorer)
            else:
                leave_out(f"scorers.{key} is false", **scorer.titles)
    else:
        names = {"win_probability": "Win probability", "entropy": "Prompt entropy", "logprob": "Output log-probability"}
        leave_out("small.path is empty", **names)
    if wanted.text_ridge:
        from routelmt_ray.evaluation.text_ridge import TextRidge

        scorers.append(TextRidge())
    else:
        leave_out("scorers.text_ridge is false", text_ridge="tf-idf ridge")
    if wanted.encoder:
        from routelmt_ray.evaluation.encoders import EncoderRegressors

        small = config.small
        scorers.append(EncoderRegressors(wanted.encoder, wanted.encoder_tokens, small.device, small.threads))
    else:
        leave_out("scorers.encoder is null", encoder_gain="Encoder, gain", encoder_quality="Encoder, quality")
    from routelmt_ray.evaluation.comet_scorers import QualityEstimate, Sentinel, look_up

    for key, checkpoint, kind in (("sentinel", wanted.sentinel, Sentinel), ("qe", wanted.qe, QualityEstimate)):
        if checkpoint.path:
            scorers.append(kind(checkpoint, look_up(f"scorers.{key}", checkpoint)))
        else:
            leave_out(f"scorers.{key}.path is empty", **kind.titles)
    scorers += [column(name, unit) for name, unit in wanted.columns.items()]
    scorers += [LENGTH, TOKENS, Rarity(), RANDOM, CONSTANT, Oracles()]
    names_given = [name for scorer in scorers for name in scorer.titles]
    if twice := sorted({name for name in names_given if names_given.count(name) > 1}):
        raise ValueError(f"scorers.routers has the name {twice[0]!r}, which another scorer has too; choose another")
    if config.reference is not None and config.reference not in names_given:
        raise ValueError(f"reference is {config.reference!r}; the scorers are {', '.join(names_given)}")
    return scorers, left_out


def run_scorers(
    scorers: Iterable[Scorer], parts: Parts, done: Callable[[int], None] = lambda n: None
) -> tuple[list[Scored], list[dict[str, str]], list[str]]:
    """Scores the rows with each scorer, and calibrates scores to gain; `done` gets the number of scores of each.

    Returns the scores of the rows, without NaN (rows on which a scorer failed come last in its order) and calibrated to gain
    where they are in another unit; the scorers that were skipped, with the reason; and warnings.
    """
    # Both parts are scored in one pass, so that each model is loaded and fitted only once.
    asked = parts if parts.calibrate is None else replace(parts, rows=parts.rows.plus(parts.calibrate))
    scored: list[Scored] = []
    skipped: list[dict[str, str]] = []
    warnings: list[str] = []
    for scorer in scorers:
        try:
            found = scorer(asked)
        except Unavailable as reason:
            log.warning("%s left out: %s", ", ".join(scorer.titles.values()), reason)
            skipped += [{"name": n, "title": t, "reason": str(reason)} for n, t in scorer.titles.items()]
            found = []
        missing = set(scorer.titles) - {s.name for s in found} - {s["name"] for s in skipped}
        skipped += [
            {"name": n, "title": scorer.titles[n], "reason": "the set lacks what it needs"} for n in sorted(missing)
        ]
        for one in found:
            if len(one.score) != len(asked.rows):
                raise ValueError(f"scorer {one.name} gave {len(one.score)} scores for {len(asked.rows)} rows")
            scored.append(_worth(_filled(_first(one, len(parts.rows)), warnings), one.score, parts))
        done(len(scorer.titles))
    return scored, skipped, warnings


def _first(one: Scored, n: int) -> Scored:
    return replace(one, score=one.score[:n], quality=None if one.quality is None else one.quality[:n])


def _worth(one: Scored, scores: np.ndarray, parts: Parts) -> Scored:
    """Calibrates a score to gain where it is not a gain itself; `scores` holds the scores of both parts."""
    if one.unit != RANK or one.name in NO_ORDER:
        return one
    others = scores[len(parts.rows) :]
    if parts.calibrate is not None and np.isfinite(others).sum() >= LEAST_ROWS:
        own = parts.calibrate
        worth = calibrate_to_gain(others, own.lengths, own.gain, own.documents)
        where = "the calibration part"
    else:
        worth = calibrate_to_gain(one.score, parts.rows.lengths, parts.rows.gain, parts.rows.documents)
        where = "the measured rows themselves"
    return replace(
        one,
        gain=worth.predict(one.score.astype(np.float64), parts.rows.lengths),
        calibrated=f"{worth.kind}, on {where}",
    )


def _filled(one: Scored, warnings: list[str]) -> Scored:
    bad = ~np.isfinite(one.score)
    if bad.all():
        warnings.append(f"{one.title} scored no row: it is as good as random.")
        return replace(one, score=np.zeros(len(one.score), np.float32))
    score = np.where(bad, np.nextafter(one.score[~bad].min(), np.float32(-np.inf)), one.score).astype(np.float32)
    if bad.any():
        warnings.append(f"{one.title} could not score {bad.sum():,} of {len(bad):,} rows; they come last in its order.")
    if one.name not in NO_ORDER and one.family != ORACLE and score.min() == score.max():
        warnings.append(f"{one.title} gives every row the same score: it is as good as random.")
    return replace(one, score=score)
