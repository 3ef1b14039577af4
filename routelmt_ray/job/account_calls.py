"""Keeps an account in rows where a run plans again: the rows of its earlier plans count too."""

from __future__ import annotations

from dataclasses import replace

from routelmt_ray.account.book import Book
from routelmt_ray.config.errors import Refused
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.evaluation.formats import amount
from routelmt_ray.job.account_run import count_calls, describe_allowance, find_place
from routelmt_ray.plan.planning import Planner


def reserve_calls(config: TranslateConfig, planner: Planner, new: int) -> None:
    """Makes sure that an account in rows has the rows that a plan sends to the large model, beside those of earlier plans of the run.

    Args:
        config: the configuration.
        planner: the planner, which has settled every row.
        new: rows that the plan sends to the large model now.

    Raises:
        Refused: an earlier plan of the run spent its grant on other rows, and fewer are left than this one needs.
    """
    if config.account.path is None or config.account.key != "rows":
        return
    place, earlier = find_place(config, at_work=True), planner.series.base["earlier_large"]
    calls = float(count_calls(planner.corpus.context.run, earlier) + new + planner.held_rows)

    def edit(book: Book) -> Book:
        left = book.left(without=place.key)
        if (mine := book.draws.get(place.key)) is None:  # the book was removed, as the end of the job says
            return book
        total = calls - mine.before
        if total <= mine.charged:
            return book
        if total > left:
            raise Refused(
                f"{describe_allowance(place, book)}. An earlier plan of this run sent other rows to the large model; with those of this plan it "
                f"would have sent {amount(total, book.unit)}, and may send {amount(max(0.0, left), book.unit)}; go back to the earlier settings, "
                "or raise the allowance"
            )
        return book.with_draw(place.key, replace(mine, spent=total))

    place.account.change(place.new, edit)
