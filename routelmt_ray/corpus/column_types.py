"""Types of the columns of a corpus: the type in which a column is kept, and the type that holds the values of two.

Values are never changed: a type is widened only to one that holds every value of both. Where this depends on the values
(an int64 and a float64, microseconds and nanoseconds) there are two candidates, and the values have to be read; see
:mod:`routelmt_ray.corpus.unify`.
"""

from collections.abc import Iterator

import pyarrow as pa

_UNITS = ("s", "ms", "us", "ns")
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
"""Decimal digits that hold every integer of this number of bits."""
_EXACT_BITS = {16: 8, 32: 16, 64: 32}
"""Bits of the widest integer type whose values a float of this number of bits can all hold."""
_EXACT_DIGITS = 15
"""Decimal digits that a float64 preserves."""
_MOST_DIGITS, _MOST_DIGITS_128 = 76, 38


def stored(kind: pa.DataType) -> pa.DataType:
    """Finds the type in which values are kept.

    Views, dictionaries, run ends, lists of a fixed size and extension types only say how values are stored in memory,
    and few readers of Parquet know all of them (pyarrow itself cannot read a list of a fixed size that has nulls).
    Their values are kept in the plain type. A field inside a struct may be null, since a whole file may lack the
    column.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return stored(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return stored(kind.value_type)
    if types.is_string_view(kind):
        return pa.large_string()
    if types.is_binary_view(kind):
        return pa.large_binary()
    if types.is_date64(kind):
        return pa.date32()  # Parquet stores dates so
    if types.is_decimal(kind):  # Polars cannot read a decimal256 in a list, even one with few digits
        return _decimal(kind.precision, kind.scale)
    if types.is_struct(kind):
        return pa.struct([pa.field(field.name, stored(field.type)) for field in _fields(kind)])
    if types.is_map(kind):
        return pa.map_(stored(kind.key_type), stored(kind.item_type))
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(stored(kind.value_type))
    if _is_list(kind):
        return pa.list_(stored(kind.value_type))
    return kind


def needs_plain_reading(kind: pa.DataType, depth: int = 0) -> bool:
    """Tells whether a type must be read as its plain Parquet type, without the Arrow schema in the file.

    Lists of a fixed size cannot be read where there are nulls, and no cast supports extension types, or dictionaries
    inside other types.
    """
    types = pa.types
    if (
        isinstance(kind, pa.BaseExtensionType)
        or types.is_fixed_size_list(kind)
        or (types.is_dictionary(kind) and depth)
    ):
        return True
    return any(needs_plain_reading(inner, depth + 1) for inner in _inner(kind))


def common(one: pa.DataType, other: pa.DataType, fine: bool = True) -> pa.DataType:
    """Finds the type that holds the values of two stored types. Where it depends on the values, `fine` selects the
    finer unit of time and the float, else it is the coarser unit and the integer. Raises pyarrow.ArrowTypeError if
    there is no such type."""
    types = pa.types
    if one == other or types.is_null(other):
        return one
    if types.is_null(one):
        return other
    if types.is_struct(one) and types.is_struct(other):
        return _common_struct(one, other, fine)
    if types.is_map(one) and types.is_map(other):
        return pa.map_(common(one.key_type, other.key_type, fine), common(one.item_type, other.item_type, fine))
    if _is_list(one) and _is_list(other):
        value = common(one.value_type, other.value_type, fine)
        return pa.large_list(value) if pa.types.is_large_list(one) or pa.types.is_large_list(other) else pa.list_(value)
    if is_text(one) and is_text(other):
        return pa.large_string()
    if (is_text(one) or _is_binary(one)) and (is_text(other) or _is_binary(other)):
        return pa.large_binary()
    if _is_number(one) and _is_number(other):
        return _common_number(one, other, fine)
    if types.is_temporal(one) and types.is_temporal(other):
        return _common_time(one, other, fine)
    raise pa.ArrowTypeError(f"no type holds both {one} and {other}")


def holds(target: pa.DataType, source: pa.DataType) -> bool:
    """Tells whether a type holds every value of another."""
    types = pa.types
    if target == source or types.is_null(source):
        return True
    if types.is_struct(source) and types.is_struct(target):
        return all(holds(target.field(field.name).type, field.type) for field in _fields(source))
    inner = list(zip(_inner(target), _inner(source)))
    if inner:
        return all(holds(*pair) for pair in inner)
    if types.is_integer(source) and types.is_integer(target):
        try:
            return bool(common(source, target) == target and common(source, target, fine=False) == target)
        except pa.ArrowTypeError:
            return False
    if types.is_integer(source) and types.is_floating(target):
        return bool(source.bit_width <= _EXACT_BITS[target.bit_width])
    if types.is_floating(source) and not types.is_floating(target):
        return False
    if types.is_timestamp(source) or types.is_duration(source) or types.is_date(source):
        return bool(getattr(source, "unit", None) == getattr(target, "unit", None))
    return True  # text, bytes, floats, decimals and times of day are only ever widened


def is_text(kind: pa.DataType) -> bool:
    """Tells whether a type is one of strings, dictionary-encoded or not."""
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)


def _common_struct(one: pa.DataType, other: pa.DataType, fine: bool) -> pa.DataType:
    found = {field.name: field.type for field in _fields(one)}
    for field in _fields(other):
        found[field.name] = common(found.get(field.name, field.type), field.type, fine)
    return pa.struct(list(found.items()))


def _common_number(one: pa.DataType, other: pa.DataType, fine: bool) -> pa.DataType:
    if pa.types.is_decimal(one) or pa.types.is_decimal(other):
        return _common_decimal(one, other)
    if pa.types.is_floating(one) and pa.types.is_floating(other):
        return one if one.bit_width >= other.bit_width else other
    if pa.types.is_floating(one) or pa.types.is_floating(other):
        floating, integer = (one, other) if pa.types.is_floating(one) else (other, one)
        bits = next((bits for bits, exact in _EXACT_BITS.items() if integer.bit_width <= exact), None)
        if bits is None:
            return pa.float64() if fine else integer
        return {16: pa.float16(), 32: pa.float32(), 64: pa.float64()}[max(bits, floating.bit_width)]
    if pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return one if one.bit_width >= other.bit_width else other
    signed, unsigned = (one, other) if pa.types.is_signed_integer(one) else (other, one)
    bits = max(signed.bit_width, 2 * unsigned.bit_width)
    if bits > 64:
        return pa.int64() if fine else unsigned
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[bits]


def _common_decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_floating(one) or pa.types.is_floating(other):
        digits = one.precision if pa.types.is_decimal(one) else other.precision
        if digits > _EXACT_DIGITS:
            raise pa.ArrowTypeError(f"a float64 does not hold {digits} digits")
        return pa.float64()
    whole, scale = (max(parts) for parts in zip(_digits(one), _digits(other)))
    if whole + scale > _MOST_DIGITS:
        raise pa.ArrowTypeError(f"no decimal has {whole + scale} digits")
    return _decimal(whole + scale, scale)


def _decimal(digits: int, scale: int) -> pa.DataType:
    return (pa.decimal128 if digits <= _MOST_DIGITS_128 else pa.decimal256)(digits, scale)


def _digits(kind: pa.DataType) -> tuple[int, int]:
    """Digits before and after the point."""
    if pa.types.is_decimal(kind):
        return kind.precision - kind.scale, kind.scale
    return _DIGITS[kind.bit_width] - (kind == pa.int64()), 0


def _common_time(one: pa.DataType, other: pa.DataType, fine: bool) -> pa.DataType:
    types, dates = pa.types, [kind for kind in (one, other) if pa.types.is_date(kind)]
    if types.is_duration(one) and types.is_duration(other):
        return pa.duration(_unit(one, other, fine))
    if types.is_time(one) and types.is_time(other):
        return one if _UNITS.index(one.unit) > _UNITS.index(other.unit) else other
    if dates:
        stamp = other if dates[0] == one else one
        if types.is_timestamp(stamp) and stamp.tz is None:
            return stamp if fine else pa.timestamp("ms")
    elif types.is_timestamp(one) and types.is_timestamp(other) and (one.tz is None) == (other.tz is None):
        return pa.timestamp(_unit(one, other, fine), one.tz if one.tz == other.tz else "UTC")
    raise pa.ArrowTypeError(f"no type holds both {one} and {other}")


def _unit(one: pa.DataType, other: pa.DataType, fine: bool) -> str:
    return (max if fine else min)(one.unit, other.unit, key=_UNITS.index)


def _fields(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(i) for i in range(kind.num_fields)]


def _inner(kind: pa.DataType) -> Iterator[pa.DataType]:
    """The types inside a type."""
    if pa.types.is_map(kind):
        yield from (kind.key_type, kind.item_type)
    elif pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) or _is_list(kind):
        yield kind.value_type
    elif pa.types.is_struct(kind):
        yield from (field.type for field in _fields(kind))


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    of = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(is_of(kind) for is_of in of)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
