"""Floors and caps equal a full sort inside every stratum, found from any slices in any order."""

import json
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.budget import Cut, StrataCuts, StrataHistogram, StrataSearch, count_strata, rows_for_fraction
from routelmt_ray.budget import strata as strata_module
from routelmt_ray.budget import strata_search as search_module
from tests.budget.corpora import full_sort, longest_prefix, place_shards, weighted_corpora
from tests.budget.selection import select_top_k

NAMES = ("de", "fr", "zh", "xx")
SHARES = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from([0, 0.1, 0.29, 0.5, 0.9, 1]) | st.floats(0, 1), max_size=4
)


@st.composite
def stratified_corpora(draw):
    """(shards of (values, first place, codes, names, weights), floors, caps); every shard has names of its own order."""
    values, edges, weights = draw(weighted_corpora())
    used = draw(st.sampled_from([NAMES[:1], NAMES[:2], NAMES]))
    strata = np.array([draw(st.sampled_from([None, *used])) for _ in values], dtype=object)
    shards = []
    for place, shard, heavy, of in place_shards(edges, values, weights, strata):
        names = draw(st.permutations(["unused", *NAMES]))
        codes = np.array([-1 if name is None else names.index(name) for name in of], dtype=np.int32)
        shards.append((shard, place, codes, names, heavy))
    present = set(strata) - {None}
    floors, caps = ({n: s for n, s in draw(SHARES).items() if n in present} for _ in range(2))
    return values, weights, strata, shards, floors, caps


def count(shards):
    total = Counter()
    for _, _, codes, names, _ in shards:
        total.update(count_strata(codes, names))
    return total


def search(shards, floors, caps, eligible, seed=0, weighted=False, most_passes=7):
    """The cuts, by searches and histograms that travelled."""
    state, passes = StrataSearch.of_shares(floors, caps, eligible, seed=seed, weighted=weighted), 0
    while isinstance(state, StrataSearch):
        parts = [pickle.loads(pickle.dumps(state)).histogram(*shard) for shard in shards[::-1]]
        state, passes = state.advance(sum(pickle.loads(pickle.dumps(parts)), StrataHistogram())), passes + 1
    assert passes <= most_passes
    return state


@settings(max_examples=120, deadline=None)
@given(corpus=stratified_corpora(), seed=st.integers(0, 2**64 - 1), chunk_rows=st.sampled_from([1, 3, 1 << 16]))
def test_equals_a_full_sort_inside_each_stratum(corpus, seed, chunk_rows):
    values, weights, strata, shards, floors, caps = corpus
    eligible = count(shards)
    assert eligible == Counter(name for name in strata if name is not None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strata_module, "MIX_ROWS", chunk_rows)
        patch.setattr(search_module, "MIX_ROWS", chunk_rows)
        cuts = search(shards, floors, caps, eligible, seed)
        masks = [cuts.masks(*shard[:4]) for shard in shards]
    mandatory, allowed = (np.concatenate(side).tolist() for side in zip(*masks, strict=True))

    order = full_sort(values, seed)
    expected, may = [False] * len(values), [name not in caps for name in strata]
    for shares, selected in ((floors, expected), (caps, may)):
        for name, share in shares.items():
            inside = [place for place in order if strata[place] == name]
            for place in inside[: rows_for_fraction(share, eligible[name])]:
                selected[place] = True
    assert mandatory == expected
    assert allowed == may
    assert sum(cut.k for cut in cuts.floors.values()) == sum(expected)
    assert sum(cut.weight for cut in cuts.floors.values()) == sum(
        int(weight) for weight, chosen in zip(weights, expected, strict=True) if chosen
    )
    # Each is the cut of a selection from that stratum alone, the others' values NaN.
    for shares, found in ((floors, cuts.floors), (caps, cuts.caps)):
        for name, share in shares.items():
            alone = np.where(strata == name, values, np.float32("nan"))
            k = rows_for_fraction(share, eligible[name])
            assert found[name] == select_top_k(alone, k, weights=weights, seed=seed)
    again = StrataCuts.from_dict(json.loads(json.dumps(cuts.to_dict())))
    assert again == cuts


@settings(max_examples=120, deadline=None)
@given(corpus=stratified_corpora(), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_shares_of_weight_equal_a_full_sort_inside_each_stratum(corpus, seed, data):
    """A floor takes the fewest best rows that weigh its share, a cap the most that weigh no more."""
    values, _, strata, shards, floors, caps = corpus
    weights = np.array([data.draw(st.integers(1, 6)) for _ in values], dtype=np.int64)
    shards = [(*shard[:4], weights[shard[1] :][: len(shard[0])]) for shard in shards]
    total = Counter()
    for _, _, codes, names, heavy in shards:
        total.update(count_strata(codes, names, weights=heavy))
    assert total == Counter({name: int(weights[strata == name].sum()) for name in set(strata) - {None}})
    cuts = search(shards, floors, caps, total, seed, weighted=True, most_passes=14)
    masks = [cuts.masks(*shard[:4]) for shard in shards]
    mandatory, allowed = (np.concatenate(side).tolist() for side in zip(*masks, strict=True))
    must, may = set(), {place for place, name in enumerate(strata) if name not in caps}
    for name in set(strata) - {None}:
        inside = [place for place in full_sort(values, seed) if strata[place] == name]
        if name in caps:
            may |= set(longest_prefix(inside, weights, rows_for_fraction(caps[name], total[name])))
        if name in floors:
            need = rows_for_fraction(floors[name], total[name])
            fewest = next((n for n in range(len(inside)) if weights[inside[:n]].sum() >= need), len(inside))
            must |= set(inside[:fewest])
    assert np.flatnonzero(mandatory).tolist() == sorted(must)
    assert np.flatnonzero(allowed).tolist() == sorted(may)
    if (weights == 1).all():
        assert cuts == search(shards, floors, caps, total, seed)


@settings(deadline=None)
@given(corpus=stratified_corpora(), data=st.data())
def test_histograms_of_slices_add_up(corpus, data):
    _, _, _, shards, floors, caps = corpus
    state, eligible = None, count(shards)
    state = StrataSearch.of_shares(floors, caps, eligible)
    while isinstance(state, StrataSearch):
        parts = [state.histogram(*shard) for shard in shards]
        total, shuffled = (sum(some, StrataHistogram()) for some in (parts, data.draw(st.permutations(parts))))
        for field in ("bins", "rows", "weights"):
            assert (getattr(total, field) == getattr(shuffled, field)).all()
        assert (np.diff(total.bins) > 0).all()
        state = state.advance(total)


def test_many_rows_of_many_strata():
    rng = np.random.default_rng(4)
    rows, strata = 150_000, 70
    values = np.round(rng.normal(size=rows), 2).astype(np.float32)
    values[rng.random(rows) < 0.2] = np.nan
    codes = np.minimum(rng.geometric(0.05, rows), strata) - 1
    weights = rng.integers(1, 2**40, rows)
    names = [f"s{i}" for i in range(strata)]
    eligible = count_strata(codes, names)
    floors = dict.fromkeys(names[::2], 0.1)
    caps = dict.fromkeys(names, 0.45)
    shards = [(values[i : i + 999], i, codes[i : i + 999], names, weights[i : i + 999]) for i in range(0, rows, 999)]
    cuts = search(shards, floors, caps, eligible, seed=6)
    mandatory, allowed = cuts.masks(values, 0, codes, names)
    assert not (mandatory & ~allowed).any()
    for code, name in enumerate(names):
        n = int((codes == code).sum())
        assert (mandatory & (codes == code)).sum() == (n // 10 if name in floors else 0)
        assert (allowed & (codes == code)).sum() == rows_for_fraction(0.45, n)
    assert sum(cut.weight for cut in cuts.floors.values()) == weights[mandatory].sum()


def test_shares_refer_to_guarded_rows_too():
    values = np.array([np.nan, np.nan, np.nan, 0.5, 0.4, 0.3], dtype=np.float32)
    codes, names = np.zeros(6, dtype=np.int32), ("de",)
    eligible = count_strata(codes, names, np.array([True] * 5 + [False]))
    assert eligible == {"de": 5}
    values[5] = np.nan
    # Half of the five is two; all of the five would be five, but guards leave two.
    for share, rows in ((0.5, 2), (1, 2), (0.2, 1)):
        cuts = search([(values, 0, codes, names, None)], {"de": share}, {"de": share}, eligible)
        mandatory, allowed = cuts.masks(values, 0, codes, names)
        assert mandatory.tolist() == allowed.tolist() == [False] * 3 + [True] * rows + [False] * (3 - rows)
        assert sum(cut.k for cut in cuts.floors.values()) == sum(cut.weight for cut in cuts.floors.values()) == rows


def test_without_floors_and_caps_all_rows_are_allowed():
    values, codes = np.array([0.5, np.nan], dtype=np.float32), np.array([0, -1])
    cuts = search([(values, 0, codes, ("de",), None)], {}, {}, {"de": 1})
    assert cuts == StrataCuts({}, {})
    mandatory, allowed = cuts.masks(values, 0, codes, ("de",))
    assert (mandatory.tolist(), allowed.tolist()) == ([False, False], [True, True])


def test_counts_keep_strata_without_eligible_rows():
    counts = count_strata(np.array([0, 2, -1, 2]), ("de", "fr", "zh"), np.array([False, True, True, True]))
    assert counts == Counter({"de": 0, "zh": 2}) and "de" in counts and "fr" not in counts
    counts.update(count_strata(np.array([0, 1]), ("zh", "fr")))
    assert dict(counts) == {"de": 0, "zh": 3, "fr": 1}
    assert StrataSearch.of_shares({"de": 1}, {}, counts).floors["de"].k == 0


def test_a_stratum_that_no_row_has_is_refused():
    with pytest.raises(ValueError, match=r"floors names the stratum 'it', which no row has; .* one of: de, fr$"):
        StrataSearch.of_shares({"it": 0.5}, {}, {"fr": 3, "de": 2})
    many = {f"s{i:02}": 1 for i in range(25)}
    with pytest.raises(ValueError, match=r"caps names .* one of: s00, .*, s19 and 5 more$"):
        StrataSearch.of_shares({}, {"it": 0.5}, many)


def test_codes_are_checked():
    state = StrataSearch.of_shares({"de": 1}, {}, {"de": 1})
    values = np.zeros(2, dtype=np.float32)
    with pytest.raises(TypeError, match="codes has dtype float64"):
        state.histogram(values, 0, np.zeros(2), ("de",))
    with pytest.raises(ValueError, match=r"codes has shape \(1,\); it must be \(2,\)"):
        state.histogram(values, 0, np.zeros(1, dtype=int), ("de",))
    for codes in ([0, 1], [-2, 0]):
        with pytest.raises(ValueError, match=r"codes lie in .*; they must be in \[-1, 1\)"):
            state.histogram(values, 0, codes, ("de",))


def test_weights_are_checked():
    state = StrataSearch.of_shares({"de": 1}, {}, {"de": 4})
    values, codes = np.zeros(4, dtype=np.float32), np.zeros(4, dtype=int)
    with pytest.raises(ValueError, match="weight at place 7 is 0"):
        state.histogram(values, 5, codes, ("de",), [1, 1, 0, 1])
    with pytest.raises(ValueError, match=r"add up to 18446744073709551616, above 2\*\*62"):
        state.histogram(values, 0, codes, ("de",), [2**62] * 4)
    half = state.histogram(values, 0, codes, ("de",), [2**59] * 4)
    with pytest.raises(ValueError, match=r"above 2\*\*62"):
        sum([half] * 3, StrataHistogram())


def test_changed_rows_are_refused():
    state, values = StrataSearch.of_shares({"de": 0.5}, {}, {"de": 4}), np.arange(4, dtype=np.float32)
    codes = np.zeros(4, dtype=int)
    state = state.advance(state.histogram(values, 0, codes, ("de",)))
    with pytest.raises(ValueError, match="found 0 rows of weight 0 where the pass before found"):
        state.advance(state.histogram(values * 2 + 9, 0, codes, ("de",)))


def test_cuts_of_several_seeds_are_refused():
    floors = {"de": Cut(k=3, weight=10, n_eligible=9, threshold=0.5)}
    with pytest.raises(ValueError, match=r"the cuts have the seeds \[0, 1\]; all must have the same"):
        StrataCuts(floors, {"de": Cut(k=3, weight=3, n_eligible=9, threshold=0.5, seed=1)})


def test_a_floor_of_a_whole_stratum_selects_all_of_its_equal_rows():
    shards = [(np.array([0.5, 0.5, 0.5], np.float32), 0, np.array([0, 1, 0]), ["a", "b"], None)]
    cuts = search(shards, {"a": 1.0}, {}, {"a": 2, "b": 1})
    assert (cuts.floors["a"].k, cuts.floors["a"].tie) == (2, None)
    mandatory, _ = cuts.masks(shards[0][0], 0, shards[0][2], shards[0][3])
    assert mandatory.tolist() == [True, False, True]


def test_the_seed_has_64_bits():
    with pytest.raises(ValueError, match="seed is 18446744073709551616"):
        StrataSearch.of_shares({}, {}, {}, seed=2**64)
