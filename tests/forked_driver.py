"""Starts a job as a process whose cluster forks its workers: `RUNNER tests/forked_driver.py RUNNER SCRIPT WORDS…`.

The job is the one that a user starts, but its processes take less time, as those of the tests' shared cluster do
(`forked_workers.py`), whose `RUNNER` this is. With Python in place of the first `RUNNER` only the workers are forked.
"""

import runpy
import sys

from routelmt_ray.config.common import RayConfig
from routelmt_ray.runtime import cluster


def main(runner: str, script: str, words: list[str]) -> None:
    """Runs the script of a job.

    Args:
        runner: what Ray runs instead of Python to get a worker.
        script: path of the job's script.
        words: its arguments.
    """
    connect = cluster._connect

    def connect_forking(config: RayConfig) -> None:
        python, sys.executable = sys.executable, runner
        try:
            connect(config)
        finally:
            sys.executable = python

    cluster._connect = connect_forking
    sys.argv = [script, *words]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
