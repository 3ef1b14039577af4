"""What an operator asks of a run on S3: how far it is, and which files are new to it."""

import pyarrow as pa

from routelmt_ray import storage
from routelmt_ray.corpus.file_list import choose
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.job.status import status
from routelmt_ray.storage.rundir import RunDir


def test_the_status_of_a_run_on_s3(bucket: storage.Location) -> None:
    run = RunDir(str(bucket / "run"))
    started = "2026-01-01T00:00:00+00:00"
    run.write_manifest(
        {
            "identity": {"job": "label"},
            "state": "stopped",
            "created": started,
            "started": started,
            "shards": 3,
            "config": {},
        }
    )
    for shard in (0, 2):
        run.commit("large/all", shard, pa.table({"a": range(4)}), {"rows": 4})
    run.commit("quarantine", 2, pa.table({"a": [1]}), {"rows": 1})
    found = status(str(bucket / "run"))
    assert (found["run_dir"], found["state"]) == (str(bucket / "run"), "stopped")
    stages = {stage["name"]: (stage["shards_done"], stage["shards"], stage["rows"]) for stage in found["stages"]}
    assert stages == {"scores": (0, 3, 0), "large/all": (2, 3, 8), "output": (0, 3, 0)}
    assert found["last_sign"] > started, "commits are signs of life"
    assert found["errors"]["quarantined_rows"] == 1


def test_a_growing_prefix(bucket: storage.Location) -> None:
    def start(name: str, since_run: str | None = None) -> list[str]:
        run = RunDir(str(bucket / name))
        chosen = choose(run, find_files(str(bucket / "in")), since_run)
        chosen.write(run)
        run.write_manifest({"state": "done"})
        return [file.name for file in chosen.files]

    storage.write_text(bucket / "in" / "b.jsonl", "{}\n")
    assert start("run-1") == ["b.jsonl"]
    storage.write_text(bucket / "in" / "a.jsonl", "{}\n")
    assert start("run-2", str(bucket / "run-1")) == ["a.jsonl"]
