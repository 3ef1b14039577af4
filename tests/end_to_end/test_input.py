"""Corpora as users have them: other columns, bad rows, damaged files, none at all."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config.errors import Refused
from tests.end_to_end.runs import ECHO, output, quarantine, run

pytestmark = pytest.mark.usefixtures("without_ray")
LENGTH = [*ECHO, "router.kind=length"]


def test_bad_rows_stand_in_the_output_and_whole_in_quarantine(tmp_path: Path) -> None:
    good = [{"source": f"sentence number {i}", "from": "en", "to": "de", "extra": {"n": i}} for i in range(6)]
    bad = {
        "null_source": {"source": None, "from": "en", "to": "de", "extra": {"n": 100}},
        "empty_source": {"source": "", "from": "en", "to": "de", "extra": {"n": 101}},
        "blank_source": {"source": "\u200b ", "from": "en", "to": "de", "extra": {"n": 102}},
        "missing_language": {"source": "x", "from": None, "to": "de", "extra": {"n": 103}},
        "unknown_language": {"source": "x", "from": "en", "to": "klingonese", "extra": {"n": 104}},
    }
    lines = [json.dumps(row) for pair in zip(good, [*bad.values(), good[0]]) for row in pair] + ['{"source": "cut']
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(lines))
    report = run(
        tmp_path / "run", path, *ECHO[:2], "input.columns.source_lang=from", "input.columns.target_lang=to",
        "input.shard_rows=3", "router.kind=length", "budget.fraction=0.5",
    )  # fmt: skip
    rows = output(tmp_path / "run").to_pylist()
    assert len(rows) == 13
    assert [row["status"] for row in rows[1:10:2]] == list(bad)
    assert rows[12]["status"] == "bad_line"
    assert [row["translation"] for row in rows[0:12:2]] == [row["source"] for row in good]
    assert all(row["model"] is row["route"] is row["predicted_gain"] is None and row["error"] for row in rows[1:10:2])
    kept = quarantine(tmp_path / "run")
    assert [row["status"] for row in kept] == [*bad, "bad_line"]
    assert [row["extra"]["n"] for row in kept[:5]] == [100, 101, 102, 103, 104]
    assert kept[5]["raw_line"] == b'{"source": "cut'
    assert report["budget"]["n_eligible"] == 7
    assert report["budget"]["routed"] == 3
    assert report["quarantined"] == 6


def test_a_score_the_user_brings_decides_and_null_is_never_routed(tmp_path: Path) -> None:
    scores = [0.5, None, -1.0, float("nan"), 2.0, 0.5, float("inf"), 0.25]
    table = pa.table({"source": [f"row {i}" for i in range(8)], "mine": scores})
    pq.write_table(table, tmp_path / "in.parquet")
    report = run(
        tmp_path / "run", tmp_path / "in.parquet", *ECHO, "router.kind=column", "router.column=mine",
        "input.shard_rows=3", "budget.fraction=null", "budget.rows=2",
    )  # fmt: skip
    rows = output(tmp_path / "run").to_pylist()
    routed = [i for i, row in enumerate(rows) if row["route"] == "large"]
    assert report["budget"]["n_eligible"] == 5
    assert len(routed) == 2
    assert 4 in routed
    assert set(routed) < {0, 4, 5}
    assert all(row["status"] == "ok" for row in rows)


@pytest.mark.parametrize(
    ("budget", "routed"), [("budget.rows=0", 0), ("budget.rows=99", 7), ("budget.fraction=0.29", 2)]
)
def test_the_count_is_exact_at_every_budget(tmp_path: Path, budget: str, routed: int) -> None:
    pq.write_table(pa.table({"source": ["same"] * 7}), tmp_path / "in.parquet")
    report = run(tmp_path / "run", tmp_path / "in.parquet", *LENGTH, "input.shard_rows=2", budget)
    assert report["budget"]["routed"] == routed
    assert output(tmp_path / "run")["route"].to_pylist().count("large") == routed


def test_shards_do_not_change_the_plan(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": [f"word {'x' * (i % 4)}" for i in range(60)]}), tmp_path / "in.parquet")
    routes = []
    for shard_rows in (60, 7):
        run_dir = tmp_path / f"run-{shard_rows}"
        run(run_dir, tmp_path / "in.parquet", *LENGTH, f"input.shard_rows={shard_rows}", "budget.fraction=0.4")
        routes.append(output(run_dir)["route"].to_pylist())
    assert routes[0] == routes[1]
    assert routes[0].count("large") == 24


def test_output_columns_may_not_hide_input_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": ["x"], "status": ["mine"], "model": [1]}), tmp_path / "in.parquet")
    with pytest.raises(Refused, match=r"already has model, status; set output.prefix"):
        run(tmp_path / "a", tmp_path / "in.parquet", *LENGTH, "budget.rows=1")
    run(tmp_path / "b", tmp_path / "in.parquet", *LENGTH, "budget.rows=1", "output.prefix=mt_")
    row = output(tmp_path / "b").to_pylist()[0]
    assert (row["status"], row["model"], row["mt_status"], row["mt_model"]) == ("mine", 1, "ok", "large")


def test_a_source_column_of_numbers_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": [1, 2]}), tmp_path / "in.parquet")
    with pytest.raises(Refused, match="input.columns.source is 'source', a column of int64; it must hold strings"):
        run(tmp_path / "run", tmp_path / "in.parquet", *LENGTH, "budget.rows=1")


def test_an_empty_corpus_gives_an_empty_output_with_its_columns(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"source": pa.array([], pa.string()), "n": pa.array([], pa.int8())}), tmp_path / "in.parquet"
    )
    report = run(tmp_path / "run", tmp_path / "in.parquet", *LENGTH, "budget.fraction=0.3")
    rows = output(tmp_path / "run")
    assert rows.num_rows == report["input"]["rows"] == report["budget"]["routed"] == 0
    assert rows.schema.field("n").type == pa.int8()
    assert "predicted_gain" in rows.column_names


def test_damaged_files_are_named_in_the_report_and_cost_only_themselves(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"source": ["a", "b"]}), tmp_path / "in" / "1.parquet")
    (tmp_path / "in" / "2.parquet").write_bytes(b"PAR1 nonsense")
    report = run(tmp_path / "run", tmp_path / "in", *LENGTH, "budget.rows=1")
    assert output(tmp_path / "run")["source"].to_pylist() == ["a", "b"]
    assert ["2.parquet" in text for text in report["input"]["damaged_files"]] == [True]


def test_real_sentences_of_many_languages_come_through(tmp_path: Path) -> None:
    real = Path(__file__).parents[3] / "shared" / "data" / "tatoeba.parquet"
    if not real.exists():
        pytest.skip("needs the sample of real sentence pairs that lies beside a development checkout")
    table = pq.read_table(real).slice(0, 400)
    pq.write_table(table, tmp_path / "in.parquet")
    report = run(
        tmp_path / "run", tmp_path / "in.parquet", *ECHO[:2], "router.kind=length", "budget.fraction=0.3",
        "input.columns={source_lang: source_lang, target_lang: target_lang, reference: reference}", "input.shard_rows=150",
    )  # fmt: skip
    assert output(tmp_path / "run").select(table.column_names).equals(table)
    assert report["budget"]["routed"] == 120


def test_a_column_that_another_file_spells_otherwise_refuses_the_job(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"source": ["A dog."]}), tmp_path / "in" / "a.parquet")
    pq.write_table(pa.table({"Source": ["A cat."]}), tmp_path / "in" / "b.parquet")
    with pytest.raises(Refused, match="Source"):
        run(tmp_path / "run", tmp_path / "in", *LENGTH, "budget.fraction=0.5")
