"""Jobs run the way a user starts them, inside the test process or as processes, and what is read of their runs."""

import json
import logging
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from routelmt_ray import storage
from routelmt_ray.storage.rundir import RunDir
from tests.shared_cluster import on_shared_cluster

ROOT = Path(__file__).resolve().parent.parent


class Ended(NamedTuple):
    """How a job ended, whoever ran it."""

    returncode: int
    stdout: str
    stderr: str


class Job:
    """jobs/translate.py on a run directory, as a command line starts it: inside this process, or as a process."""

    script = "translate"
    launcher: tuple[str, ...] = (sys.executable,)
    """Command that starts a script as a process; see :func:`forked_workers`."""
    kill = signal.SIGKILL
    """Signal to that process at which the driver is killed without a warning."""

    def __init__(self, run_dir: Path | storage.S3Path) -> None:
        self.run_dir: Any = run_dir

    def words(self, *overrides: str, config: str | None = None) -> list[str]:
        """The arguments."""
        named = ["--config", config] if config else []
        return [*named, f"run_dir={self.run_dir}", "ray.object_store_mb=200", *overrides]

    def command(self, *overrides: str, config: str | None = None) -> list[str]:
        """The command line of a process."""
        return [*self.launcher, f"jobs/{self.script}.py", *self.words(*overrides, config=config)]

    def run(self, *overrides: str, config: str | None = None, check: int | None = 0) -> Ended:
        """Runs to the end in this process, on the cluster the tests share, and asserts the exit status; None for any.

        What it says on stderr is what a process would say there. Workers do not see a variable that a test sets: use
        :meth:`run_process` for that, and where the point is a process.
        """
        ended = in_this_process(import_module(f"jobs.{self.script}").main, self.words(*overrides, config=config))
        assert check in (None, ended.returncode), f"exit status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended

    def run_process(
        self, *overrides: str, config: str | None = None, check: int | None = 0, timeout_s: float = 280
    ) -> Ended:
        """Runs to the end as a process that starts a cluster; otherwise as :meth:`run`."""
        done = subprocess.run(
            self.command(*overrides, config=config), cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
        )
        assert check in (None, done.returncode), f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Ended(done.returncode, done.stdout, done.stderr)

    def kill_when(self, ready: Callable[[Path], bool], *overrides: str, config: str | None = None) -> None:
        """Starts, waits until the run directory looks as asked, and kills the driver with SIGKILL."""
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                self.command(*overrides, config=config), cwd=ROOT, stdout=said, stderr=said, start_new_session=True
            )
            deadline = time.monotonic() + 500
            try:
                while not ready(self.run_dir):
                    if process.poll() is not None or time.monotonic() > deadline:
                        said.seek(0)
                        pytest.fail(f"the job ended or never got so far: {process.poll()}\n{said.read().decode()}")
                    time.sleep(0.02)
            finally:
                process.send_signal(self.kill)
                process.wait()

    def output(self) -> pa.Table:
        """The merged rows, in order."""
        run = RunDir(self.run_dir)
        return pa.concat_tables(
            storage.read_table(run.shard_path("output", shard)) for shard in sorted(run.committed("output"))
        )

    def plan(self) -> dict[str, bytes]:
        """Content of the plan's files, by name."""
        names = [name for name in storage.list_tree(self.run_dir) if name.startswith("plan/")]
        return {name: storage.read_bytes(self.run_dir / name) for name in names}

    def report(self) -> dict[str, Any]:
        """report.json."""
        report: dict[str, Any] = json.loads(storage.read_bytes(self.run_dir / "report.json"))
        return report


def in_this_process(main: Callable[[list[str]], int], words: list[str]) -> Ended:
    """Runs a command's `main` here; an unexpected error is raised, where the command would print a traceback."""
    out, err = StringIO(), StringIO()
    said = logging.StreamHandler(err)
    said.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(said)
    root.setLevel(min(level, logging.INFO))
    try:
        with redirect_stdout(out), on_shared_cluster():
            status = main(words)
    finally:
        root.removeHandler(said)
        root.setLevel(level)
    return Ended(status, out.getvalue(), err.getvalue())


class Undisturbed(NamedTuple):
    """A run that nothing happened to, to hold others against. It is not to be changed: see :func:`copy_of`."""

    words: list[str]
    """With the configuration :data:`DEMO_CONFIG`."""
    job: Job


def copy_of(job: Job, folder: Path) -> Job:
    """A run to go on with, as it was."""
    shutil.copytree(job.run_dir, folder)
    return Job(folder)


def untimed(rows: pa.Table) -> pa.Table:
    """Without the columns of seconds, which are those of another day."""
    return rows.drop_columns([name for name in rows.column_names if name.endswith("_s")])
