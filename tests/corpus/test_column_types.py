"""Every type of column comes out as it came in, readable by pyarrow, DuckDB and Polars; types of two files fit, or are refused."""

import itertools
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from routelmt_ray import storage
from routelmt_ray.corpus.column_types import common, holds, stored
from routelmt_ray.corpus.corpus import Corpus, open_corpus
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.corpus.shard_reader import read_shard
from tests.columns import every, plain

NOT_WRITTEN = {"list of structs of string_view", "list of structs of binary_view"}
"""pyarrow cannot write these: no input has them."""
INTEGERS_IN_DUCKDB = "duration"
"""Parquet has no durations: Arrow notes in the file that integers are some, and DuckDB reads the integers."""
MORE_THAN_38_DIGITS = "of more than 38 digits"
"""DuckDB reads such decimals as doubles, Polars refuses them; pyarrow reads them as they are."""


def here(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    return [function(*words) for words in arguments]


def opened(folder: Path, *tables: pa.Table, **options: Any) -> Corpus:
    """A corpus of one file for each table."""
    (folder / "in").mkdir(exist_ok=True)
    for number, table in enumerate(tables):
        pq.write_table(table, folder / "in" / f"{number}.parquet", **options)
    return open_corpus(find_files(str(folder / "in")), folder / "run", here)


def committed(corpus: Corpus, folder: Path, shard_rows: int = 3) -> list[Path]:
    """Output files with the columns of the corpus, made of what a merge does with them: read, filter, take, publish."""
    plan = corpus.plan(shard_rows)
    paths = []
    for i in range(len(plan)):
        table = read_shard(plan[i], corpus.schema, corpus.schema.names)
        last = pc.equal(pa.array(range(table.num_rows)), table.num_rows - 1)
        lost, kept = table.filter(last), table.take(np.arange(table.num_rows - 1))
        for name, part in (("lost", lost), ("kept", kept), ("whole", table)):
            paths.append(folder / f"{i}-{name}.parquet")
            storage.publish_table(paths[-1], part, {}, compression="zstd")
    return paths


def values(column: pa.ChunkedArray) -> list[Any]:
    """What a column holds, under any name of its type: bytes of a UUID, the numbers of a tensor."""
    kind = stored(column.type)
    chunks = [chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in column.chunks]
    found = [value for chunk in chunks for value in chunk.to_pylist()]
    return [_bytes(value) for value in found] if "fixed_size_binary[16]" in str(kind) else found


def _bytes(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_bytes, value))
    if isinstance(value, dict):
        return {key: _bytes(inner) for key, inner in value.items()}
    return getattr(value, "bytes", value)


def by_pyarrow(paths: Sequence[Path]) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in paths)


def by_duckdb(paths: Sequence[Path]) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(f"SELECT * FROM read_parquet({[str(path) for path in paths]})").to_arrow_table()


def by_polars(paths: Sequence[Path], columns: list[str]) -> pa.Table:
    return pa.concat_tables(pl.read_parquet(path, columns=columns).to_arrow() for path in paths)


def assert_read_by_all(paths: Sequence[Path], expected: dict[str, list[Any]]) -> None:
    """Every reader gives the same values, but for those named above."""
    pyarrow_has, duckdb_has = by_pyarrow(paths), by_duckdb(paths)
    polars_has = by_polars(paths, [name for name in expected if MORE_THAN_38_DIGITS not in name])
    for name, wanted in expected.items():
        assert values(pyarrow_has[name]) == wanted, name
        if MORE_THAN_38_DIGITS in name:
            assert duckdb_has[name].null_count == pyarrow_has[name].null_count, name
            continue
        if INTEGERS_IN_DUCKDB not in name:
            assert values(duckdb_has[name]) == wanted, f"{name} by DuckDB"
        assert values(polars_has[name]) == wanted, f"{name} by Polars"
    assert duckdb_has.num_rows == polars_has.num_rows == pyarrow_has.num_rows


def test_every_type_of_column_comes_out_as_it_came_in(tmp_path: Path) -> None:
    """Alone; beside a file without the columns, see the tests of the merge."""
    table = every().drop_columns(sorted(NOT_WRITTEN))
    corpus = opened(tmp_path, table)
    paths = [path for path in committed(corpus, tmp_path) if "whole" in path.name]
    assert_read_by_all(paths, {name: values(table[name]) for name in table.column_names})
    for path in tmp_path.glob("*.parquet"):  # what was taken and filtered too
        assert pq.read_table(path).num_columns == len(corpus.schema)


@pytest.mark.parametrize("name", sorted(NOT_WRITTEN))
def test_what_no_input_has_is_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(pa.ArrowNotImplementedError, match="not implemented"):
        pq.write_table(every().select([name]), tmp_path / "in.parquet")


DAY, LATE = datetime(2024, 5, 1), datetime(9999, 12, 31)
FIT: dict[str, tuple[pa.Array, pa.Array, pa.DataType]] = {
    # values of one file and of another, and the type of both
    "integers": (pa.array([1], pa.int8()), pa.array([2**40], pa.int64()), pa.int64()),
    "signs": (pa.array([-1], pa.int16()), pa.array([2**32 - 1], pa.uint32()), pa.int64()),
    "unsigned that is small": (pa.array([7], pa.uint64()), pa.array([-1], pa.int64()), pa.int64()),
    "unsigned that is large": (pa.array([2**64 - 1], pa.uint64()), pa.array([1], pa.int64()), pa.uint64()),
    "integer and float": (pa.array([2**53]), pa.array([0.5]), pa.float64()),
    "small integer and float": (pa.array([7], pa.int16()), pa.array([0.5], pa.float32()), pa.float32()),
    "integer and short float": (pa.array([2**24 + 1], pa.int32()), pa.array([0.5], pa.float32()), pa.float64()),
    "large integer and whole floats": (pa.array([1234567890123456789]), pa.array([3.0, None]), pa.int64()),
    "floats": (pa.array([0.5], pa.float16()), pa.array([0.1]), pa.float64()),
    "decimal and integer": (pa.array([Decimal("1.25")], pa.decimal128(10, 2)), pa.array([10**18]), pa.decimal128(21, 2)),
    "decimals, together of more than 38 digits": (
        pa.array([Decimal("1.25")], pa.decimal128(38, 2)), pa.array([Decimal(1)], pa.decimal128(38, 0)), pa.decimal256(40, 2),
    ),
    "short decimal and float": (pa.array([Decimal("0.1")], pa.decimal128(15, 1)), pa.array([0.1]), pa.float64()),
    "fine and late": (pa.array([DAY], pa.timestamp("ns")), pa.array([LATE], pa.timestamp("us")), pa.timestamp("us")),
    "fine and near": (pa.array([1], pa.timestamp("ns")), pa.array([DAY], pa.timestamp("us")), pa.timestamp("ns")),
    "zones": (
        pa.array([DAY], pa.timestamp("us", "Europe/Berlin")), pa.array([DAY], pa.timestamp("us", "Asia/Tokyo")),
        pa.timestamp("us", "UTC"),
    ),
    "date and time": (pa.array([date(9999, 1, 1)]), pa.array([DAY], pa.timestamp("ns")), pa.timestamp("ms")),
    "durations": (pa.array([2**40], pa.duration("s")), pa.array([10**9], pa.duration("ns")), pa.duration("s")),
    "times of day": (pa.array([1], pa.time32("ms")), pa.array([2], pa.time64("ns")), pa.time64("ns")),
    "texts": (pa.array(["a"]), pa.array(["b"], pa.string_view()), pa.large_string()),
    "text and categories": (pa.array(["a"]), pa.array(["b", None]).dictionary_encode(), pa.string()),
    "bytes": (pa.array([b"ab"], pa.binary(2)), pa.array([b"c"], pa.binary_view()), pa.large_binary()),
    "null": (pa.nulls(1), pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)), pa.list_(pa.float32())),
    "sizes of lists": (
        pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)), pa.array([[1.0], None], pa.large_list(pa.float64())),
        pa.large_list(pa.float64()),
    ),
    "fields": (
        pa.array([{"a": 1}]), pa.array([{"b": "x", "a": 0.5}, None]), pa.struct([("a", pa.float64()), ("b", pa.string())]),
    ),
    "maps": (
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())), pa.array([[("b", 2)]], pa.map_(pa.string(), pa.int64())),
        pa.map_(pa.string(), pa.int64()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("turn", [1, -1])
def test_types_of_two_files_are_widened_to_one_that_holds_every_value(tmp_path: Path, turn: int) -> None:
    tables = []
    for side in (0, 1):
        longest = max(len(both[side]) for both in FIT.values())
        filled = {
            n: pa.concat_arrays([both[side], pa.nulls(longest - len(both[side]), both[side].type)])
            for n, both in FIT.items()
        }
        tables.append(pa.table(filled))
    corpus = opened(tmp_path, *tables[::turn])
    exact = {name: corpus.schema.field(name).type for name in FIT if name not in ("fields", "text and categories")}
    assert exact == {name: kind for name, (_, _, kind) in FIT.items() if name in exact}
    paths = [path for path in committed(corpus, tmp_path, 2) if "whole" in path.name]
    expected = {name: [value for table in tables[::turn] for value in values(table[name])] for name in FIT}
    expected["short decimal and float"] = [value and float(value) for value in expected["short decimal and float"]]
    expected["date and time"] = [value and datetime(*value.timetuple()[:3]) for value in expected["date and time"]]
    expected["fields"] = [value and {"a": None, "b": None, **value} for value in expected["fields"]]
    assert_read_by_all(paths, expected)
    instants = by_pyarrow(paths)["zones"].drop_null().to_pylist()
    assert instants == [DAY.replace(tzinfo=UTC)] * 2


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (pa.array([2**53 + 1]), pa.array([0.5]), r"x is double, and int64 there \(no type holds the values of all: .*1\.parquet: Float value 0\.5"),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1]), r"x is int64, and uint64 there \(no type holds the values"),
        (pa.array([LATE], pa.timestamp("us")), pa.array([1], pa.timestamp("ns")), r"x is timestamp\[ns\], and timestamp\[us\]"),
        (pa.array([Decimal(1)], pa.decimal128(16, 0)), pa.array([0.5]), r"x is double, and decimal128\(16, 0\) there; convert"),
        (pa.array([Decimal(1)], pa.decimal256(76, 70)), pa.array([2**40]), r"x is int64, and decimal256\(76, 70\) there"),
        (pa.array([DAY], pa.timestamp("us")), pa.array([DAY], pa.timestamp("us", "UTC")), r"x is timestamp\[us, tz=UTC\], and timestamp\[us\] there"),
        (pa.array([[1]]), pa.array([{"a": 1}]), r"x is struct<a: int64>, and list<.*there; convert the files to one type"),
        (pa.array([[2**53 + 1]]), pa.array([[0.5]]), r"x is list<.*double>, and list<.*int64> there \(no type holds"),
    ],
)  # fmt: skip
def test_types_that_no_type_holds_are_refused_at_open(tmp_path: Path, one: Any, other: Any, message: str) -> None:
    with pytest.raises(
        ValueError, match=rf"the columns of .*1\.parquet do not fit those of the files before it: {message}"
    ):
        opened(tmp_path, pa.table({"x": one}), pa.table({"x": other}))


def edges(kind: pa.DataType) -> pa.Array:
    """The least and the greatest value of a type, where it has such, and null."""
    types = pa.types
    if types.is_integer(kind):
        both = np.iinfo(kind.to_pandas_dtype())
        return pa.array([both.min, both.max, None], kind)
    if types.is_floating(kind):
        both = np.finfo(kind.to_pandas_dtype())
        return pa.array([both.min, both.tiny, None], kind)
    if types.is_decimal(kind):
        most = Decimal("9" * kind.precision).scaleb(-kind.scale, Context(prec=99))
        return pa.array([most.copy_negate(), most, None], kind)
    if types.is_time(kind) or not types.is_temporal(kind):
        return plain_of(kind)
    bits = 31 if types.is_date(kind) else 63
    return pa.array([1 - 2**bits, 2**bits - 1, None], pa.int32() if types.is_date(kind) else pa.int64()).view(kind)


def plain_of(kind: pa.DataType) -> pa.Array:
    return next(pc.cast(array, kind) for array in plain().values() if stored(array.type) == kind and array.type == kind)


STORED = sorted({stored(array.type) for array in plain().values() if stored(array.type) == array.type}, key=str)


@pytest.mark.parametrize("fine", [True, False])
def test_a_type_that_is_said_to_hold_another_holds_its_least_and_greatest_value(fine: bool) -> None:
    held = 0
    for one, other in itertools.combinations(STORED, 2):
        try:
            target = common(one, other, fine)
        except pa.ArrowTypeError:
            with pytest.raises(pa.ArrowTypeError):
                common(other, one, fine)
            continue
        assert target == common(other, one, fine), (one, other)
        for source in (one, other):
            if holds(target, source):
                held += 1
                there = pc.cast(edges(source), target)
                if not (pa.types.is_fixed_size_binary(source) or pa.types.is_null(source)):  # no cast leads back
                    assert pc.cast(there, source, safe=False).equals(edges(source)), (source, target)
    assert held > 100


def test_integers_and_floats_of_ids_are_exact(tmp_path: Path) -> None:
    ids = [1234567890123456789, 1234567890123456790]
    corpus = opened(
        tmp_path, pa.table({"id": ids}), pa.table({"id": [5.0, None]})
    )  # pandas makes floats of what has nulls
    table = by_pyarrow([path for path in committed(corpus, tmp_path) if "whole" in path.name])
    assert table["id"].to_pylist() == [*ids, 5, None]


def test_times_of_int96_are_not_wrapped_around(tmp_path: Path) -> None:
    days = [LATE, DAY, None, datetime(1, 1, 1)]
    corpus = opened(tmp_path, pa.table({"x": pa.array(days, pa.timestamp("us"))}), use_deprecated_int96_timestamps=True)
    assert_read_by_all([path for path in committed(corpus, tmp_path) if "whole" in path.name], {"x": days})


def test_what_a_merge_could_not_write_is_refused_at_open_with_its_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were types kept as they are, rows would show before anything is paid for that a list of two has no nulls."""
    monkeypatch.setattr("routelmt_ray.corpus.unify.stored", lambda kind: kind)
    vectors = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    with pytest.raises(
        ValueError, match=r"0\.parquet: column 'v' of fixed_size_list<.*>\[2\] cannot be kept: .*size=2"
    ):
        opened(tmp_path, pa.table({"source": ["a", "b"], "v": vectors}), pa.table({"source": ["c"]}))
    assert not (tmp_path / "run" / "corpus.json").exists()


def test_damage_at_the_beginning_of_a_file_is_no_reason_to_refuse_it(tmp_path: Path) -> None:
    table = pa.table({"source": [f"text {i}" for i in range(200)], "n": range(200)})
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "0.parquet"
    pq.write_table(table, path, use_dictionary=False, write_page_checksum=True, compression="none")
    content = bytearray(path.read_bytes())
    at = content.index(b"text 3")
    content[at : at + 4] = b"TEXT"
    path.write_bytes(content)
    corpus = open_corpus(find_files(str(tmp_path / "in")), tmp_path / "run", here)
    found = read_shard(corpus.plan(200)[0], corpus.schema, corpus.schema.names)
    assert found["n"].to_pylist() == list(range(200))
    assert found["source"].null_count == 200
