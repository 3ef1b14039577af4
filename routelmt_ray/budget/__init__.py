"""Spending a budget over a whole corpus, exactly, in memory that does not grow with it.

`select_top_k` finds the cut that selects the k best gains; `Cut.mask` then decides any slice alone. `Search`
is the same selection one pass at a time, for a driver whose gains lie in shards on many workers.
`rows_for_fraction` turns a share into k.

Pure NumPy: importing this package imports neither Ray nor torch.

    cut = select_top_k(gains, rows_for_fraction(0.3, n_eligible))
    routed = cut.mask(gains_of_shard, first_place_of_shard)
"""

from routelmt_ray.budget.cut import Cut
from routelmt_ray.budget.fraction import rows_for_fraction
from routelmt_ray.budget.selection import Search, select_top_k

__all__ = ["Cut", "Search", "rows_for_fraction", "select_top_k"]
