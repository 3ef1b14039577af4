"""Several nodes with the run on S3: nothing but the address is shared, and the plan and the rows are those of one node."""

from pathlib import Path

import pytest

from routelmt_ray import storage
from tests.conftest import DEMO_CONFIG, Job, Undisturbed, untimed
from tests.end_to_end.label_runs import LabelJob
from tests.faults import nodes
from tests.without_ray import without_ray as jobs_without_ray

PINNED = ["models.large.pool.resources={large: 1}", "models.small.pool.resources={small: 1}"]
"""Each model's pool finds room on one node only, as with two types of GPU."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_translate_and_label_give_the_plan_and_the_rows_of_one_node(
    undisturbed_demo: Undisturbed, bucket: storage.S3Path, tmp_path: Path
) -> None:
    path, shards = (word.partition("=")[2] for word in undisturbed_demo.words)
    for file in Path(path).iterdir():
        storage.write_bytes(bucket / "in" / file.name, file.read_bytes())
    label = ["configs/label_demo.yaml", f"input.shard_rows={shards}", "metrics.names=[chrf]"]
    labelled_here = LabelJob(tmp_path / "label")
    with jobs_without_ray():
        labelled_here.run(f"input.path={path}", *label[1:], config=label[0])
    with nodes.started(2, {"num_cpus": 1, "small": 1}, {"num_cpus": 1, "large": 1}) as cluster:
        for there, here, config, *words in (
            (Job(bucket / "translate"), undisturbed_demo.job, DEMO_CONFIG, f"input.shard_rows={shards}"),
            (LabelJob(bucket / "label"), labelled_here, *label),
        ):
            address = f"ray.address={cluster.address}"
            there.run_process(f"input.path={bucket / 'in'}", *words, *PINNED, address, config=config, timeout_s=400)
            assert untimed(there.output()).equals(untimed(here.output()))
            assert there.plan() == here.plan()
