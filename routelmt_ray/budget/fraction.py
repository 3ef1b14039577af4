"""Converts a share of the rows to a number of rows."""

from decimal import ROUND_FLOOR, Context, Decimal

import numpy as np

from routelmt_ray.budget.keys import check_count


def rows_for_fraction(fraction: float, n_eligible: int) -> int:
    """Computes the budget k = floor(fraction * n_eligible), in decimal arithmetic.

    A fraction is taken as it is written: 0.29 of 100 rows is 29, although the double nearest to 0.29 lies below it and
    its product with 100 rounds to 28.999999999999996. It is a number in [0, 1], read as the shortest decimal that gives
    it back.
    """
    n_eligible = check_count("n_eligible", n_eligible)
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; it must be in [0, 1]")
    share = Decimal(str(fraction))
    # Precise enough for the whole product, so that nothing is rounded before the floor is taken.
    exact = Context(prec=len(share.as_tuple().digits) + len(str(n_eligible)), rounding=ROUND_FLOOR)
    return int(exact.multiply(share, Decimal(n_eligible)).to_integral_value(ROUND_FLOOR))


def rows_of_each(fraction: float, sizes: np.ndarray) -> np.ndarray:
    """Computes :func:`rows_for_fraction` for many numbers of rows; shape (n,), int64, as that of `sizes`."""
    different, at = np.unique(sizes, return_inverse=True)
    return np.array([rows_for_fraction(fraction, int(size)) for size in different], np.int64)[at]
