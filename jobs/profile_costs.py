"""Profile: what does a row of this corpus cost on each model, on this hardware?

    python jobs/profile_costs.py --config configs/profile_demo.yaml [key=value ...]
    python jobs/translate.py … budget.gpu_hours=20 cost.path=runs/profile_demo/cost.json

A sample is drawn from all parts of the corpus, with language pairs and lengths in proportion. One actor of each pool
is timed on it: loading, prompt tokens, output tokens. Costs are counted in device-seconds: wall seconds times the GPUs
of the pool or, where it has none, CPU seconds. <run_dir>/cost.json has the costs with their errors, for translate runs
with the same models, prompts and pools. The same command resumes; a new run_dir measures again.

Exit status: 0 cost.json is there; 1 failed, and can be resumed by the same command; 2 the configuration or the run
directory was refused; 143 stopped by SIGTERM or 130 by SIGINT, and can be resumed.
"""

import logging

from routelmt_ray import storage
from routelmt_ray.budget.cost import CostModel
from routelmt_ray.config.profile import ProfileConfig
from routelmt_ray.job import command, job, profiling
from routelmt_ray.reports.cost_summary import print_costs
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger("routelmt_ray.profile_costs")


def main(argv: list[str]) -> int:
    """Runs the job; returns its exit status."""
    with command.ending(kept="Finished work is kept") as end:
        with command.checking():
            config = command.configure(ProfileConfig, __doc__, argv)
            preparation = profiling.prepare(config)
            costs = profiling.kept_costs(RunDir(config.run_dir), config.models, config.router, config.rows, config.seed)
        if costs is not None:
            log.info("run_dir %s has this profile: nothing to do; name a new one to measure again", config.run_dir)
        else:
            with command.working(config) as progress:
                costs = run(config, preparation, progress)
        publish(config, costs)
    return end.status


def run(config: ProfileConfig, preparation: job.Preparation, progress: Progress) -> CostModel:
    """Measures the costs of both models on a sample of the corpus; Ray must be running."""
    context, plan = job.open_run(preparation, ())
    return profiling.measure_costs(context, plan, config.router, config.rows, progress, config.ray.rounds)


def publish(config: ProfileConfig, costs: CostModel) -> None:
    """Writes the costs to the run's `cost.json`, marks the run as done and prints the costs."""
    run_dir = RunDir(config.run_dir)
    path = run_dir.root / profiling.COST_FILE
    storage.write_json(path, costs.to_dict())
    run_dir.write_manifest(job.ended(run_dir, "done"))
    print_costs(costs, path)


if __name__ == "__main__":
    command.hold_no_model()
    command.exit_with(main)
