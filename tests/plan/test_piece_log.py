"""Columns that grow hold what was added, in order."""

import numpy as np

from routelmt_ray.plan.piece_log import PieceLog


def test_pieces_are_kept_in_order_however_many() -> None:
    log = PieceLog()
    assert log.columns().shape == (3, 0)
    pieces = [(i, i / 2, i / 3) for i in range(1_000)]
    for n, piece in enumerate(pieces):
        assert len(log) == n
        log.add(*piece)
    np.testing.assert_array_equal(log.columns().T, pieces)
