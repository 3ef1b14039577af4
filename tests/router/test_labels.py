"""Which rows are learned from, and which labels are refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.router.labels import read_training_rows
from tests.router.conftest import label_table, train_config


def changed(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    """The table with the first values of a column replaced."""
    column = [*values, *table[name].to_pylist()[len(values) :]]
    return table.set_column(table.column_names.index(name), name, pa.array(column, table.schema.field(name).type))


def test_rows_that_cannot_be_learned_from_are_left_out_and_counted(tmp_path: Path) -> None:
    table = changed(label_table(200), "gain_chrf", [None, float("nan"), float("inf")])
    table = changed(table, "target_lang", ["es", "es", "es", "xx-nowhere", None])
    table = changed(table, "source", ["a", "b", "c", "d", "e", None, "", " \u200b", "word " * 2000])
    pq.write_table(table, tmp_path / "l.parquet")
    rows = read_training_rows(train_config(tmp_path / "l.parquet", tmp_path))
    assert rows.dropped == {
        "label_not_measured": 3, "unknown_language": 1, "missing_language": 1, "null_source": 1, "empty_source": 1,
        "blank_source": 1, "too_long": 1,
    }  # fmt: skip
    assert rows.rows_read == 200
    assert len(rows.prompts) == len(rows.parts) == len(rows.targets) == 191
    assert rows.targets.dtype == np.float32
    assert np.isfinite(rows.targets).all()


def test_parts_are_disjoint_in_documents_and_follow_the_split_seed(labels: Path, tmp_path: Path) -> None:
    rows = read_training_rows(train_config(labels, tmp_path))
    assert sum(rows.counts().values()) == 360
    assert (rows.parts[0::2] == rows.parts[1::2]).all()  # two rows a document
    other = read_training_rows(train_config(labels, tmp_path, "split.seed=1"))
    assert (other.parts != rows.parts).any()
    assert other.digest != rows.digest


def test_a_repeat_of_a_held_out_text_is_not_learned_from(labels: Path, tmp_path: Path) -> None:
    # Twenty texts are in ten documents each, so that they come to several parts.
    table = pq.read_table(labels)
    repeated = changed(table, "source", [f"text {i % 20}" for i in range(200)])
    pq.write_table(repeated, tmp_path / "repeated.parquet")
    rows = read_training_rows(train_config(tmp_path / "repeated.parquet", tmp_path))
    of = {name: {rows.sources.texts[i] for i in rows.part(name)} for name in ("train", "stop", "calibration", "test")}
    others = len(set(table["source"].to_pylist()[200:]))
    assert sum(map(len, of.values())) == len(set.union(*of.values())) == 20 + others, "no text is in two parts"
    assert rows.dropped == {"text_in_a_later_part": len(table) - len(rows.prompts)} and len(rows.prompts) < len(table)


def test_a_gain_may_come_from_both_qualities_and_files_follow_one_another(labels: Path, tmp_path: Path) -> None:
    table = pq.read_table(labels).drop_columns(["gain_chrf"])
    pq.write_table(table.slice(0, 100), tmp_path / "a.parquet")
    pq.write_table(table.slice(100), tmp_path / "b.parquet")
    heads = "heads=[quality,gain]"
    rows = read_training_rows(train_config(tmp_path, tmp_path, heads))
    expected = read_training_rows(train_config(labels, tmp_path, heads))
    np.testing.assert_allclose(rows.targets, expected.targets, atol=1e-6)
    assert rows.prompts == expected.prompts
    np.testing.assert_array_equal(expected.targets[:, 0], pq.read_table(labels)["quality_small_chrf"].to_numpy())


def test_files_may_hold_text_and_numbers_in_other_types(labels: Path, tmp_path: Path) -> None:
    table = pq.read_table(labels)
    other = table.slice(100)
    for name, kind in (("target_lang", pa.dictionary(pa.int32(), pa.string())), ("gain_chrf", pa.float32())):
        at = other.column_names.index(name)
        other = other.set_column(at, name, other[name].cast(kind))
    pq.write_table(table.slice(0, 100), tmp_path / "a.parquet")
    pq.write_table(other, tmp_path / "b.parquet")
    rows, expected = (read_training_rows(train_config(path, tmp_path)) for path in (tmp_path, labels))
    np.testing.assert_allclose(rows.targets, expected.targets, atol=1e-6)
    assert rows.prompts == expected.prompts


def test_files_with_other_label_columns_are_refused_and_no_row_is_lost(labels: Path, tmp_path: Path) -> None:
    table = pq.read_table(labels)
    pq.write_table(table.slice(0, 100), tmp_path / "a.parquet")
    pq.write_table(table.slice(100).drop_columns(["gain_chrf"]), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="do not have the same label columns"):
        read_training_rows(train_config(tmp_path, tmp_path))


def test_a_column_of_another_kind_is_named_with_its_file(labels: Path, tmp_path: Path) -> None:
    table = pq.read_table(labels)
    for values in (pa.array([["x"]] * len(table)), pa.array([b"\xff"] * len(table))):
        at = table.column_names.index("source")
        pq.write_table(table.set_column(at, "source", values), tmp_path / "l.parquet")
        with pytest.raises(ValueError, match="l.parquet: column 'source' must hold text"):
            read_training_rows(train_config(tmp_path / "l.parquet", tmp_path))


def test_a_sample_is_taken_before_the_split(labels: Path, tmp_path: Path) -> None:
    rows = read_training_rows(train_config(labels, tmp_path, "labels.rows=250"))
    assert len(rows.prompts) == 250


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (lambda t: t.slice(0, 40), [], "too few rows to split by document"),
        (lambda t: changed(t, "gain_chrf", [0.25] * len(t)), [], "gain_chrf is 0.25 in every row of the train part"),
        (lambda t: changed(t, "gain_chrf", [None] * len(t)), [], "360 label_not_measured"),
        (lambda t: changed(t, "gain_chrf", [31.5]), [], "must be on the 0-1 scale"),
        (lambda t: t, ["labels.metric=comet"], "no column gain_comet; metrics found: chrf"),
        (lambda t: t, ["labels.columns.document=doc"], "labels.columns.document is 'doc'"),
        (lambda t: t.drop_columns(["source"]), [], "labels.columns.source is 'source'"),
        (lambda t: t.drop_columns(["quality_small_chrf"]), ["heads=[gain,quality]"], "no column quality_small_chrf"),
    ],
)  # fmt: skip
def test_labels_that_cannot_serve_are_refused(
    labels: Path, tmp_path: Path, change: object, overrides: list[str], message: str
) -> None:
    pq.write_table(change(pq.read_table(labels)), tmp_path / "l.parquet")  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        read_training_rows(train_config(tmp_path / "l.parquet", tmp_path, *overrides))


def test_something_else_than_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="labels are Parquet"):
        read_training_rows(train_config(tmp_path / "l.jsonl", tmp_path))
    with pytest.raises(ValueError, match="labels.path /nowhere: no such file"):
        read_training_rows(train_config(Path("/nowhere"), tmp_path))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("heads=[quality]", "`gain` among them"),
        ("method=forest", "one of probe, lora"),
        ("small.engine=echo", "trained with engine `hf`"),
        ("labels.source_lang=en", "both set"),
        ("split.train=0.9", "together they must be 1"),
        ("probe.penalties=[0]", "numbers above 0"),
    ],
)
def test_a_bad_configuration_names_the_field(labels: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_config(labels, tmp_path, override)
