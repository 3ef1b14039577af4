"""Whole jobs over columns of many types, and over files of an earlier budget that were damaged."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray import schema, translation
from tests.columns import every
from tests.end_to_end.runs import ECHO, output, run
from tests.test_column_types import NOT_WRITTEN, assert_read_by_all, values

pytestmark = pytest.mark.usefixtures("local_ray")


def test_columns_of_many_types_go_through_a_job_and_into_quarantine(tmp_path: Path) -> None:
    table = every().drop_columns(sorted(NOT_WRITTEN))
    names = sorted(
        {*table.column_names[::6], "tensor", "struct of string_view", "fixed list of float32", "list of string_view"}
    )
    texts = pa.array(["one", None, "three", "four"], pa.string_view())
    (tmp_path / "in").mkdir()
    pq.write_table(table.select(names).append_column("source", texts), tmp_path / "in" / "a.parquet")
    pq.write_table(pa.table({"source": ["five", ""]}), tmp_path / "in" / "b.parquet")
    run(tmp_path / "run", tmp_path / "in", *ECHO, "router.kind=length", "budget.rows=2", "input.shard_rows=3")
    lost, added = [1, 5], set(schema.OUTPUT_COLUMNS.names)
    whole = {name: [*values(table[name]), None, None] for name in names} | {"source": [*texts.to_pylist(), "five", ""]}
    for folder, rows in (("output", range(6)), ("quarantine", lost)):
        paths = sorted((tmp_path / "run" / folder).glob("*.parquet"))
        assert_read_by_all(paths, {name: [column[row] for row in rows] for name, column in whole.items()})
        assert all(set(pq.read_schema(path).names) - added == set(whole) for path in paths)
    assert output(tmp_path / "run")["translation"].to_pylist() == ["one", None, "three", "four", "five", None]


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
