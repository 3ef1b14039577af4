"""Spends a budget over a whole corpus, exactly, in memory that does not grow with the corpus.

A row has a value and a weight; a budget is a number of rows or a total weight. `Search` finds the cut that selects the
best rows, one pass at a time, for a driver whose values lie in shards on many workers; the `Histogram`s of a pass add
up. `Cut.mask` then decides any slice of the corpus without the others. `StrataSearch` finds the cuts of floors and caps
inside strata in shared passes. `rows_for_fraction` turns a share into rows.

Pure NumPy: importing this package imports neither Ray nor torch.

    state = Search(k=rows_for_fraction(0.3, n_eligible))
    while isinstance(state, Search):
        state = state.advance(sum((state.histogram(values, place) for values, place in shards), Histogram()))
    routed = state.mask(values_of_shard, first_place_of_shard)
"""

from routelmt_ray.budget.cut import Cut
from routelmt_ray.budget.fraction import rows_for_fraction
from routelmt_ray.budget.histogram import Histogram
from routelmt_ray.budget.search import Search
from routelmt_ray.budget.strata import StrataCuts, count_strata
from routelmt_ray.budget.strata_search import StrataHistogram, StrataSearch

__all__ = [
    "Cut", "Histogram", "Search", "StrataCuts", "StrataHistogram", "StrataSearch", "count_strata", "rows_for_fraction",
]  # fmt: skip
