"""Train a router: it predicts, from one prefill of the small model, how much better the large model would do.

    python jobs/train.py --config configs/train_demo.yaml [key=value ...]

Learns from the labels that jobs/label.py writes. `method=probe` fits a linear head on the frozen model's prompt
states; `method=lora` also trains low-rank adapters, which are used for probing, never for translation.
The router's folder (`out`) appears at the end, complete: `jobs/translate.py router.path=…` uses it. After a kill, the
same command continues: states and checkpoints are kept in `work_dir`.

Exit status: 0 the router is there; 1 failed, and can be resumed by the same command; 2 the configuration or the labels
were refused; 143 stopped by SIGTERM or 130 by SIGINT, and can be resumed.
"""

import logging
import time
from pathlib import Path
from typing import Any

from routelmt_ray import storage
from routelmt_ray.config.train import TrainConfig
from routelmt_ray.job import command, training
from routelmt_ray.reports.router_summary import print_router
from routelmt_ray.router.fit import fit_lora, fit_probe
from routelmt_ray.router.lora import Diverged
from routelmt_ray.router.states import open_states
from routelmt_ray.runtime import cluster, pipelines, stopping
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger("routelmt_ray.train")


def main(argv: list[str]) -> int:
    """Runs the job; returns its exit status."""
    with command.ending(kept="Finished work is kept in work_dir", failures=(Diverged,)) as end:
        with command.checking():
            config = command.configure(TrainConfig, __doc__, argv)
            preparation = training.prepare(config)
        if training.is_finished(preparation):
            log.info("out %s holds the router of this training: nothing to do", config.out)
            print_router(config.out, storage.read_json(Path(config.out) / "router.json"))
            return end.status
        if config.method == "probe":
            with command.checking():
                cluster.check(config.ray)
        with stopping.on_signals():
            if config.method == "probe":
                cluster.start(config.ray)
                cluster.check_pools({"small.pool": config.small.pool}, config.ray.address)
            with Progress() as progress:
                spec = run(preparation, progress)
        print_router(config.out, spec)
    return end.status


def run(preparation: training.TrainPreparation, progress: Progress) -> dict[str, Any]:
    """Trains the router on the labels and publishes it; returns its spec. For a probe, Ray must be running."""
    config, rows, started = preparation.config, preparation.rows, time.monotonic()
    work_dir = RunDir(config.work_dir)
    train, stop = rows.part("train"), rows.part("stop")
    if config.method == "probe":
        # The states of all rows are computed once; the rest is linear algebra.
        states = open_states(rows.prompts, config.small, work_dir, config.shard_rows, config.pooling)
        pipelines.run(work_dir, [states.work(config.small)], config.ray.rounds, progress)
        fit = fit_probe(config, rows, states, train, stop)
    else:
        fit = fit_lora(config, rows, Path(config.work_dir).absolute(), train, stop, progress)
    return training.publish(preparation, fit, time.monotonic() - started)


if __name__ == "__main__":
    command.exit_with(main)
