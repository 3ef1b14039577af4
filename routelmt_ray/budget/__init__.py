"""Spends a budget over a whole corpus, exactly, in memory that does not grow with the corpus.

A row has a value and a weight; a budget is a number of rows or a total weight. `select_top_k` and `select_prefix`
find the cut that selects the best rows; `Cut.mask` then decides any slice of the corpus without the others. `Search`
makes the same selection one pass at a time, for a driver whose values lie in shards on many workers; the `Histogram`s
of a pass add up. `StrataSearch` finds the cuts of floors and caps inside strata in shared passes. `rows_for_fraction`
turns a share into rows.

Pure NumPy: importing this package imports neither Ray nor torch.

    cut = select_top_k(gains, rows_for_fraction(0.3, n_eligible))
    cut = select_prefix(gains_per_second, extra_microseconds, 3_600_000_000)
    routed = cut.mask(values_of_shard, first_place_of_shard)
"""

from routelmt_ray.budget.cut import Cut
from routelmt_ray.budget.fraction import rows_for_fraction
from routelmt_ray.budget.histogram import Histogram
from routelmt_ray.budget.search import Search
from routelmt_ray.budget.selection import select_prefix, select_top_k
from routelmt_ray.budget.strata import StrataCuts, count_strata
from routelmt_ray.budget.strata_search import StrataHistogram, StrataSearch

__all__ = [
    "Cut",
    "Histogram",
    "Search",
    "StrataCuts",
    "StrataHistogram",
    "StrataSearch",
    "count_strata",
    "rows_for_fraction",
    "select_prefix",
    "select_top_k",
]
