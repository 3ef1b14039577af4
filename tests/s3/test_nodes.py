"""Several nodes with the run on S3: nothing but the address is shared, and the plan and the rows are those of one node."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from tests.conftest import Job, untimed
from tests.end_to_end.label_runs import LabelJob
from tests.faults import nodes

PINNED = ["models.large.pool.resources={large: 1}", "models.small.pool.resources={small: 1}"]
"""Each model's pool finds room on one node only, as with two types of GPU."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_translate_and_label_give_the_plan_and_the_rows_of_one_node(
    demo_corpus: pa.Table, bucket: storage.S3Path, tmp_path: Path
) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(demo_corpus, path)
    storage.write_bytes(bucket / "in" / "in.parquet", path.read_bytes())
    jobs = {
        "translate": (Job, "configs/demo.yaml", ["input.shard_rows=40"]),
        "label": (LabelJob, "configs/label_demo.yaml", ["input.shard_rows=40", "metrics.names=[chrf]"]),
    }
    with nodes.started(2, {"num_cpus": 1, "small": 1}, {"num_cpus": 1, "large": 1}) as cluster:
        for name, (kind, config, words) in jobs.items():
            there, here = kind(bucket / name), kind(tmp_path / name)
            address = f"ray.address={cluster.address}"
            there.run(f"input.path={bucket / 'in'}", *words, *PINNED, address, config=config, timeout_s=400)
            here.run(f"input.path={path}", *words, config=config, timeout_s=400)
            assert untimed(there.output()).equals(untimed(here.output()))
            assert there.plan() == here.plan()
