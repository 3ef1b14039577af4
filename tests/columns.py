"""A column of every type that Parquet files bring: alone, inside other types, and beside a neighbour in a second file."""

from decimal import Decimal
from typing import Any

import pyarrow as pa

ROWS = 4


def _extension(kind: pa.DataType, values: list[Any]) -> pa.Array:
    return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))


NUMBERS = {
    **{f"{sign}int{bits}": [0, 2 ** (bits - 1) - 1, None, 7] for bits in (8, 16, 32, 64) for sign in ("", "u")},
    "float16": [0.5, -2.0, None, float("inf")],
    "float32": [0.25, -2.0, None, 1e30],
    "float64": [0.1, -2.0, None, 1e300],
    "bool_": [True, False, None, True],
}
TIMES = {
    "date32": [0, 2_932_896, None, -719_162],
    "date64": [0, 86_400_000, None, -86_400_000],
}
UNITS = ("s", "ms", "us", "ns")


def plain() -> dict[str, pa.Array]:
    """Arrays of :data:`ROWS` values, one null, by what they are."""
    found = {name: pa.array(values, getattr(pa, name)()) for name, values in NUMBERS.items()}
    found |= {name: pa.array(TIMES[name], getattr(pa, name)()) for name in ("date32", "date64")}
    for unit in UNITS:
        for zone in (None, "UTC", "Europe/Berlin"):
            found[f"timestamp {unit} {zone}"] = pa.array([0, 1, None, -1], pa.timestamp(unit, zone))
        found[f"duration {unit}"] = pa.array([0, 1, None, -1], pa.duration(unit))
        found[f"time {unit}"] = pa.array([0, 1, None, 59], (pa.time32 if unit in ("s", "ms") else pa.time64)(unit))
    texts, blobs = ["a", "", None, "größe"], [b"\x00\xff", b"", None, b"b"]
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        found[str(kind)] = pa.array(texts, kind)
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        found[str(kind)] = pa.array(blobs, kind)
    found["fixed binary"] = pa.array([b"ab", b"cd", None, b"ef"], pa.binary(2))
    decimals = [Decimal("1.25"), Decimal("-99.99"), None, Decimal(0)]
    for of in (pa.decimal32, pa.decimal64, pa.decimal128, pa.decimal256):
        found[of.__name__] = pa.array(decimals, of(9, 2))
    found["decimal of 38 digits"] = pa.array([Decimal(10) ** 37, None, Decimal(1), Decimal(0)], pa.decimal128(38, 0))
    found["decimal of more than 38 digits"] = pa.array(
        [Decimal(10) ** 60, None, Decimal(1), Decimal(0)], pa.decimal256(76, 0)
    )
    for index in (pa.int8(), pa.int32(), pa.uint16()):
        found[f"dictionary {index}"] = pa.array(texts).dictionary_encode().cast(pa.dictionary(index, pa.string()))
    found["dictionary of numbers"] = pa.array([3, 3, None, 5]).dictionary_encode()
    found["null"] = pa.nulls(ROWS)
    found["uuid"] = _extension(pa.uuid(), [b"1" * 16, b"2" * 16, None, b"3" * 16])
    found["json"] = _extension(pa.json_(), ["{}", "[1]", None, "1"])
    found["bool8"] = _extension(pa.bool8(), [1, 0, None, 1])
    found["tensor"] = _extension(pa.fixed_shape_tensor(pa.float32(), [2]), [[1, 2], [3, 4], None, [5, 6]])
    return found


def nested(inner: pa.Array) -> dict[str, pa.Array]:
    """The same values inside lists, structs and maps; one of the outer values is null, another empty where that can be."""
    offsets = pa.array([0, 2, 2, None, 4], pa.int32())
    four = inner if len(inner) == 4 else inner.slice(0, 4)
    found = {
        "list": pa.ListArray.from_arrays(offsets, four),
        "large list": pa.LargeListArray.from_arrays(offsets.cast(pa.int64()), four),
        "struct": pa.StructArray.from_arrays([four, pa.array([1, 2, 3, 4])], ["a", "b"], mask=_third()),
        "map": pa.MapArray.from_arrays(offsets, pa.array(["k", "l", "m", "n"]), four),
        "fixed list": pa.FixedSizeListArray.from_arrays(pa.concat_arrays([four, four]), 2, mask=_third()),
    }
    found["list of lists"] = pa.ListArray.from_arrays(offsets, found["list"])
    found["struct of fixed list"] = pa.StructArray.from_arrays([found["fixed list"]], ["v"], mask=_third())
    found["list of structs"] = pa.ListArray.from_arrays(offsets, found["struct"])
    return found


def _third() -> pa.Array:
    return pa.array([False, False, True, False])


def every() -> pa.Table:
    """One column for every type and every way to nest it."""
    columns = plain()
    for name, array in plain().items():
        columns |= {f"{outer} of {name}": found for outer, found in nested(array).items()}
    columns["list view"] = pa.array([[1], [], None, [2, 3]], pa.list_view(pa.int8()))
    columns["large list view"] = pa.array([[1], [], None, [2, 3]], pa.large_list_view(pa.int8()))
    required = pa.struct([pa.field("a", pa.int64(), nullable=False)])
    columns["struct of required"] = pa.array([{"a": 1}, {"a": 2}, None, {"a": 3}], required)
    return pa.table(columns)
