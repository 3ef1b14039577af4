"""The sample keeps pairs and lengths in proportion."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.corpus.sampling import stratified_sample


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=120),
    st.integers(1, 130),
    st.integers(0, 99),
)
def test_every_pair_and_length_range_has_its_share(corpus: list[tuple[str, int]], rows: int, seed: int) -> None:
    pairs, lengths = [pair for pair, _ in corpus], np.array([length for _, length in corpus])
    chosen = stratified_sample(pairs, lengths, rows, seed)
    assert len(chosen) == min(rows, len(corpus))
    assert (np.diff(chosen) > 0).all()
    share = len(chosen) / len(corpus)
    for pair in set(pairs):
        of_pair = np.array(pairs) == pair
        assert abs(of_pair[chosen].sum() - share * of_pair.sum()) < 1
        for bound in range(10):
            short = of_pair & (lengths <= bound)
            assert abs(short[chosen].sum() - share * short.sum()) < 2


def test_the_same_seed_draws_the_same_rows_and_another_seed_others() -> None:
    pairs, lengths = ["en→de"] * 500, np.arange(500) % 7
    first = stratified_sample(pairs, lengths, 50, 1)
    assert first.tolist() == stratified_sample(pairs, lengths, 50, 1).tolist()
    assert first.tolist() != stratified_sample(pairs, lengths, 50, 2).tolist()
