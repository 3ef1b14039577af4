"""Finds a threshold on the scores of a translate run, and reads the file that holds one."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from routelmt_ray import storage
from routelmt_ray.budget.price import in_money, prices_of
from routelmt_ray.budget.threshold import Threshold, find_threshold, find_threshold_for_cost
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.common import refuse_seconds
from routelmt_ray.config.schema import LARGE, OK, SMALL
from routelmt_ray.config.threshold import ThresholdConfig
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.job import profiling, translation
from routelmt_ray.plan.forecast import fixed_cost
from routelmt_ray.stages import score
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

_FRACTION = 0.3
"""Share of the rows if the configuration sets no budget."""


def threshold_of_run(config: ThresholdConfig) -> dict[str, Any]:
    """Finds the threshold, with the identity of its router, and writes it to `config.out` where that is set.

    Raises ValueError where the folder is no run directory, rows are not scored, none has a score, or costs are not known.
    """
    run = RunDir(config.run_dir)
    manifest = run.manifest()
    if manifest is None:
        raise ValueError(f"run_dir is {config.run_dir}, which has no manifest.json; name the folder of a translate run")
    if "router" not in manifest["identity"]:
        raise ValueError(
            f"run_dir is {config.run_dir}, which is not a translate run: it has no router; name the folder of one"
        )
    metas = run.metas(score.STAGE)
    if len(metas) < max(1, manifest["shards"]):
        raise ValueError(f"run_dir is {config.run_dir}, whose rows are not all scored; start the same job again first")

    def gains() -> Iterator[npt.NDArray[np.float32]]:
        for shard in sorted(metas):
            yield storage.read_table(run.shard_path(score.STAGE, shard), ["predicted_gain"])[
                "predicted_gain"
            ].to_numpy()

    scored = sum(meta["eligible"] for meta in metas.values())
    if not scored:
        raise ValueError(f"run_dir is {config.run_dir}, where no row has a score; see its report for the reasons")
    if config.hours is None and config.money is None:
        found = find_threshold(gains, scored, config.fraction or _FRACTION, config.confidence).to_dict()
    else:
        found = _for_cost(config, run, manifest, sorted(metas)).to_dict()
    found["router"] = manifest["identity"]["router"]
    if config.out:
        storage.write_json(storage.path(config.out), found)
        log.info("threshold written to %s", config.out)
    return found


def _for_cost(config: ThresholdConfig, run: RunDir, manifest: Mapping[str, Any], shards: list[int]) -> Threshold:
    key, budget = ("hours", config.hours) if config.money is None else ("money", config.money)
    asked = f"{key} is {budget:g}, but run_dir {config.run_dir}"
    if manifest.get("state") != "dry run":
        raise ValueError(
            f"{asked} is not a dry run, and only that measures what rows cost; run the job with budget.dry_run=true, or set fraction"
        )
    ran = configlib.build(TranslateConfig, manifest["config"])
    prices = None if key == "hours" else prices_of(ran.price)
    if key == "hours":
        refuse_seconds(asked, ran.models)
    elif prices is None:
        raise ValueError(f"{asked} has no prices; start the dry run again with `price`: its scores are kept")
    path = ran.cost.path
    cost = (
        profiling.kept_costs(run, ran.models, ran.router, ran.cost.rows, ran.seed)
        if path is None
        else profiling.load_costs(path, ran.models, ran.router)
    )
    if cost is None:
        raise ValueError(
            f"run_dir is {config.run_dir}, whose profile is gone; start the dry run again, which measures a new one"
        )
    if prices is not None:
        cost = in_money(cost, prices)
    columns = ["predicted_gain", "prompt_tokens", "source_tokens", "pair", "status"]

    def rows() -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
        for shard in shards:
            table = storage.read_table(run.shard_path(score.STAGE, shard), columns)
            table = table.filter(pc.equal(table["status"], OK))
            pair = table["pair"].combine_chunks().dictionary_encode()
            prompt, source = (table[name].to_numpy() for name in ("prompt_tokens", "source_tokens"))
            codes, names = pc.fill_null(pair.indices, -1).to_numpy(), pair.dictionary.to_pylist()
            small, large = (cost.row_seconds(size, prompt, source, codes, names) for size in (SMALL, LARGE))
            yield table["predicted_gain"].to_numpy(), small, large

    fixed = fixed_cost(run, cost, ran.models, prices)
    return find_threshold_for_cost(rows, float(budget or 0), fixed, cost.unit, config.confidence)


def resolve_threshold(config: TranslateConfig) -> TranslateConfig:
    """Replaces the file that `budget.threshold` may name by the number in it.

    Raises:
        ValueError: it is neither a number nor a file of `jobs/threshold.py`, or the file was made with another router.
    """
    asked = config.budget.threshold
    if asked is None:
        return config
    share = config.budget.threshold_share
    try:
        value = float(asked)
    except ValueError:
        found = read_threshold("budget.threshold", asked, translation.router_identity(config.router))
        value, share = found.threshold, found.share
        log.info("%s: threshold %.6g, which routed %.1f %% of %d rows", asked, value, 100 * found.share, found.rows)
    if not math.isfinite(value) or abs(value) > np.finfo(np.float32).max:
        raise ValueError(
            f"budget.threshold is {asked}; it must be a finite number of 32 bits, or a file of jobs/threshold.py"
        )
    threshold = repr(float(np.float32(value)))
    return replace(config, budget=replace(config.budget, threshold=threshold, threshold_share=share))


def read_threshold(key: str, path: str, router: Mapping[str, Any]) -> Threshold:
    """Reads a file of `jobs/threshold.py` that the option `key` names.

    Raises ValueError where it is no such file, or was made with another router.
    """
    try:
        fields = storage.read_json(storage.path(path))
        found, made_with = Threshold.from_dict(fields), fields["router"]
    except (OSError, ValueError, KeyError, TypeError, storage.StorageError) as error:
        raise ValueError(
            f"{key} is {path}, which is neither a number nor a file of jobs/threshold.py ({error})"
        ) from None
    if made_with != router:
        raise ValueError(
            f"{key} is {path}, which was found on the scores of another router: {made_with}, here {router}; find it again on a run "
            "with this router"
        )
    return found
