"""Whole jobs over run directories with damaged files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import translation
from tests.end_to_end.runs import ECHO, output, run

pytestmark = pytest.mark.usefixtures("local_ray")


def test_an_earlier_budgets_file_that_is_cut_before_the_merge_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["x" * n for n in range(1, 13)]
    pq.write_table(pa.table({"source": texts}), tmp_path / "in.parquet")
    words = [tmp_path / "run", tmp_path / "in.parquet", *ECHO, "router.kind=length", "input.shard_rows=6"]
    run(*words, "budget.rows=5")

    def stop(*_: object) -> None:
        raise RuntimeError("before the merge")

    with monkeypatch.context() as patched:
        patched.setattr(translation, "start_output", stop)
        with pytest.raises(RuntimeError, match="before the merge"):
            run(*words, "budget.rows=8")
    assert list((tmp_path / "run" / "large" / "001").glob("*.parquet"))
    for path in (tmp_path / "run" / "large" / "000").glob("*.parquet"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run(*words, "budget.rows=8")
    rows = output(tmp_path / "run").to_pylist()
    assert [row["translation"] for row in rows] == texts
    assert [row["model"] for row in rows] == ["small"] * 4 + ["large"] * 8
