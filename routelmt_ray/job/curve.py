"""The quality of a router by the number of its labels: both methods on nested subsets, measured on one held-out part.

    python -m routelmt_ray.job.curve --config configs/train_demo.yaml out=runs/train_demo/curve [key=value ...]

The configuration is that of jobs/train.py; `curve.rows` and `curve.methods` say which points are measured. A label
count is the number of rows of the train and stop parts together, in the proportion of `split.train` to `split.stop`;
the test part is the same for all. Writes `curve.json` into `out` and prints a table. Hidden states are extracted once;
finished trainings are kept in `work_dir`, and after a kill the same command continues.

The exit status is that of jobs/train.py.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from routelmt_ray import storage
from routelmt_ray.config.train import TrainConfig
from routelmt_ray.engines.hf import token_embeddings
from routelmt_ray.engines.translators import check_model
from routelmt_ray.job import command
from routelmt_ray.reports.router_summary import print_curve
from routelmt_ray.router.calibration import held_out_figures
from routelmt_ray.router.fit import fit_lora, fit_probe
from routelmt_ray.router.labels import TrainingRows, read_training_rows
from routelmt_ray.router.lora import Diverged
from routelmt_ray.router.states import States, open_states
from routelmt_ray.router.words import fit_words
from routelmt_ray.runtime import cluster, pipelines
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger("routelmt_ray.curve")


def nested_subset(part: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Selects row numbers of a part, ascending, in a seeded order in which a larger share contains a smaller one."""
    order = np.random.default_rng(seed).permutation(part)
    return np.sort(order[: round(share * len(part))])


def learning_curve(
    config: TrainConfig, rows: TrainingRows, states: States | None, progress: Progress
) -> list[dict[str, Any]]:
    """Trains every method at every label count, and measures each router on the test part; `probe` needs the states."""
    train, stop, test = rows.part("train"), rows.part("stop"), rows.part("test")
    gain = config.heads.index("gain")
    gains = rows.targets[test, gain]
    most = len(train) + len(stop)
    points = []
    embeddings = token_embeddings(config.small) if config.words else None
    for labels in [n for n in sorted(set(config.curve.rows)) if n < most] + [most]:
        share = labels / most
        chosen = nested_subset(train, share, config.seed), nested_subset(stop, share, config.seed)
        asked, held = np.concatenate((chosen[1], test)), len(chosen[1])
        for method in config.curve.methods:
            started = time.monotonic()
            if method == "probe":
                assert states is not None
                fit = fit_probe(config, rows, states, *chosen)
                raw = fit.predict(asked, Path())
            else:
                fit = fit_lora(config, rows, Path(config.work_dir), *chosen, progress)
                assert fit.save_adapter is not None
                with storage.new_folder(Path(config.work_dir) / "curve-router") as folder:
                    fit.save_adapter(folder / "adapter")
                    raw = fit.predict(asked, folder)
            seconds = fit.facts.get("seconds", time.monotonic() - started)
            output = raw[:, gain]
            words = None
            if config.words:
                words, _ = fit_words(rows.sources, rows.targets[:, gain], *chosen, output[:held], embeddings)
            predicted = output[held:]
            if words is not None:
                predicted = predicted + words(*rows.sources.take(test))
            figures = held_out_figures(predicted, gains)
            figures.pop("rmse")  # has no meaning for an output that is not calibrated
            points.append({"labels": labels, "method": method, "seconds": round(seconds, 2)} | figures)
            log.info("%d labels, %s: Spearman %s", labels, method, figures["spearman"])
    return points


def main(argv: list[str]) -> int:
    """Measures the learning curve for a command line, and returns the exit status."""
    with command.ending(kept="Finished work is kept in work_dir", failures=(Diverged,)) as end:
        with command.checking():
            config = command.configure(TrainConfig, __doc__, argv)
            check_model("small", config.small)
            rows, probes = read_training_rows(config), "probe" in config.curve.methods
            if probes:
                cluster.check(config.ray)
        states, test_rows = None, rows.counts()["test"]
        with Progress() as progress:
            if probes:
                cluster.start(config.ray)
                cluster.check_pools({"small.pool": config.small.pool}, config.ray.address)
                work_dir = RunDir(config.work_dir)
                states = open_states(rows.prompts, config.small, work_dir, config.shard_rows, config.pooling)
                pipelines.run(work_dir, [states.work(config.small)], config.ray.rounds, progress)
            points = learning_curve(config, rows, states, progress)
        facts = {"metric": config.labels.metric, "data": rows.digest, "test_rows": test_rows, "points": points}
        storage.write_json(Path(config.out) / "curve.json", facts)
        print_curve(points, test_rows)
    return end.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
