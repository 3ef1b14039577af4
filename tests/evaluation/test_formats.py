"""Numbers and spans of time as the reports write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.evaluation import formats


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (formats.percent(3, 10), "30.0 %"),
        (formats.percent(0, 10), "0.0 %"),
        (formats.percent(1, 10**6), "<0.1 %"),
        (formats.percent(10**6 - 1, 10**6), ">99.9 %"),
        (formats.percent(5, 5), "100.0 %"),
        (formats.percent(0, 0), "–"),
        (formats.count(1, "row"), "1 row"),
        (formats.count(1_234_567), "1,234,567"),
        (formats.number(-0.012345678), "−0.01235"),
        (formats.number(12345.6), "12,346"),
        (formats.number(float("inf")), "–"),
        (formats.rate(0.1234), "0.12"),
        (formats.rate(45678.9), "45,679"),
        (formats.duration(0.04), "0.0 s"),
        (formats.duration(59.97), "1 min 00 s"),
        (formats.duration(3599.7), "1 h 00 min"),
        (formats.duration(93_600), "1 d 02 h"),
        (formats.duration(None), "–"),
        (formats.device_time(0.0), "0.0 s"),
        (formats.device_time(252), "4 min 12 s"),
        (formats.device_time(86_399.7), "24 h 00 min"),
        (formats.device_time(187_500), "52 h 05 min"),
        (formats.device_time(359_999), "100 h"),
        (formats.device_time(4_464_000), "1,240 h"),
        (formats.device_time(None), "–"),
        (formats.asked_amount(3600, "gpu_s"), "1.00"),
        (formats.asked_amount(3599.9, "gpu_s"), "1.00"),
        (formats.asked_amount(1270, "gpu_s"), "0.353"),
        (formats.asked_amount(10.0, "gpu_s"), "0.00278"),
        (formats.asked_amount(4_464_001, "gpu_s"), "1250"),
        (formats.asked_amount(0.0, "gpu_s"), "0"),
        (formats.asked_amount(12.341, "USD"), "12.4"),
        (formats.amount(1234.5, "USD"), "USD 1,234.50"),
        (formats.amount(0.0123456, "EUR"), "EUR 0.0123"),
        (formats.amount(0.0, "USD"), "USD 0.00"),
        (formats.amount(None, "USD"), "–"),
        (formats.amount(252, "cpu_s"), "4 min 12 s"),
        (formats.points(0.0194), "+1.94"),
        (formats.points(-0.0002), "−0.02"),
        (formats.points(-0.00001), "0.00"),
        (formats.points(None), "–"),
        (formats.signed(-2.5), "−2.5"),
        (formats.signed(1e-12), "0"),
    ],
)
def test_numbers_read_as_people_write_them(words: str, expected: str) -> None:
    assert words == expected


@given(st.floats(1e-3, 1e10))
def test_a_budget_typed_from_the_table_covers_its_rows_and_little_more(seconds: float) -> None:
    asked = 3600 * float(formats.asked_amount(seconds, "gpu_s"))
    assert seconds * (1 - 1e-6) <= asked <= 1.011 * seconds
