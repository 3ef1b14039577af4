"""Parts by document: nothing of a document is in two parts, and the same three inputs give the same parts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.corpus.splits import PARTS, crossing, document_keys, split_of

SHARES = (0.7, 0.1, 0.1, 0.1)


@settings(deadline=None)
@given(st.lists(st.text(max_size=4), max_size=60), st.integers(0, 2**63 - 1), st.randoms())
def test_a_document_has_one_part_wherever_it_stands(documents: list[str], seed: int, random: object) -> None:
    parts = split_of(documents, seed, SHARES)
    assert set(parts) <= set(PARTS)
    by_document = dict(zip(documents, parts))
    assert [by_document[d] for d in documents] == list(parts)
    random.shuffle(documents)  # type: ignore[attr-defined]
    assert list(split_of([*documents, "one more"], seed, SHARES)[:-1]) == [by_document[d] for d in documents]


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(sum), st.integers(0, 5))
def test_parts_have_their_shares(weights: list[int], seed: int) -> None:
    shares = [w / sum(weights) for w in weights]
    parts = split_of([f"document {i}" for i in range(4000)], seed, shares)
    for name, share in zip(PARTS, shares):
        # Five standard deviations of a binomial draw; a part without a share has no rows at all.
        assert abs(np.mean(parts == name) - share) <= 5 * np.sqrt(share * (1 - share) / 4000)


def test_the_cut_is_fixed_for_good() -> None:
    # Published routers say by seed and shares which rows they never saw: another hash would break that promise.
    parts = split_of([f"d:{i}" for i in range(8)], 7, (0.25, 0.25, 0.25, 0.25))
    assert " ".join(parts) == "stop test test test train stop calibration test"


def test_another_seed_cuts_elsewhere() -> None:
    documents = [str(i) for i in range(200)]
    assert (split_of(documents, 0, SHARES) != split_of(documents, 1, SHARES)).any()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.1, 0.1, 0.2), (1.2, -0.2, 0.0, 0.0)])
def test_shares_that_do_not_sum_to_one_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        split_of(["a"], 0, shares)


def test_rows_without_a_document_stay_with_their_source_text() -> None:
    keys = document_keys(["x", None, "", "x"], ["a", "One  two", "one two", "b"])
    assert keys[0] == keys[3]
    assert keys[1] == keys[2]
    assert len(set(keys)) == 2
    assert document_keys(["s:a"], ["?"]) != document_keys(None, ["a"])  # an id cannot pass for a text
    assert document_keys(None, ["Ａ"]) == document_keys(None, ["a"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", "d1", "d2", "d3"]), st.sampled_from(["ab", "cd", "AB", "ef"]))))
def test_a_text_is_in_one_part_once_crossing_rows_are_left_out_and_held_out_rows_stay(
    rows: list[tuple[str, str]],
) -> None:
    documents, sources = [document for document, _ in rows], [text for _, text in rows]
    parts = split_of(document_keys(documents, sources), 3, (0.25, 0.25, 0.25, 0.25))
    crosses = crossing(parts, sources)
    of = [{parts[j] for j, other in enumerate(sources) if other.casefold() == text.casefold()} for text in sources]
    for row, found in enumerate(of):
        assert crosses[row] == (parts[row] != max(found, key=PARTS.index))
        left = {parts[j] for j in np.flatnonzero(~crosses) if sources[j].casefold() == sources[row].casefold()}
        assert len(left) == 1, "each text is in one part, and none is lost"
    without = split_of(document_keys(None, sources), 3, SHARES)
    assert not crossing(without, sources).any(), "without documents the split goes by text already"
