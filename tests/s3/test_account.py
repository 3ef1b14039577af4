"""An account here and on S3: the same functions, the same promises."""

import threading
from datetime import date
from pathlib import Path

import numpy as np

from routelmt_ray import storage
from routelmt_ray.account.account import Account, periods
from routelmt_ray.account.book import RESERVED, RETURNED, SETTLED, Book, Draw
from routelmt_ray.account.offer import Offer
from routelmt_ray.config.account import Period, period_of
from tests.conftest import Job
from tests.end_to_end.test_account import BY_COLUMN, corpus, period

NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 30))


def draw_of(granted: float, state: str = RESERVED) -> Draw:
    return Draw("runs/a", "2026-11-27", 10, granted, state, 0.0, 0.0)


def test_jobs_at_once_never_get_more_than_there_is(root: storage.Location) -> None:
    account, taken = Account(root, NOVEMBER), []

    def take(key: str) -> None:
        def edit(book: Book) -> Book:
            return book.with_draw(key, draw_of(min(15.0, book.left(without=key))))

        taken.append(account.change(Book("rows", 40.0), edit).draws[key].granted)

    threads = [threading.Thread(target=take, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [0, 10, 15, 15]
    book = account.read()
    assert book is not None and book.left() == 0 and periods(root) == [NOVEMBER]


def test_a_job_at_work_keeps_its_grant_and_one_that_ended_returns_it(root: storage.Location) -> None:
    account = Account(root, NOVEMBER)
    account.change(Book("rows", 40.0), lambda book: book.with_draw("a", draw_of(9)).with_draw("b", draw_of(9, SETTLED)))
    with account.at_work("a"):
        account.return_dead(0.0, lambda key, run_dir: 1.0)
        assert (book := account.read()) is not None and book.draws["a"].state == RESERVED
    account.return_dead(0.0, lambda key, run_dir: 1.0)
    assert (book := account.read()) is not None and book.draws["a"].state == RETURNED and book.left() == 39


def test_nights_are_read_again(root: storage.Location) -> None:
    account, today = Account(root, NOVEMBER), date(2026, 11, 27)
    account.add_night("a", today, "x", Offer.of_bins(5, 1.5, np.arange(5.0)[::-1], np.ones(5)))
    (night,) = account.nights(today, "x", without="b")
    assert (night.day, night.offer.base, night.offer.prices.tolist()) == (today, 1.5, [4, 3, 2, 1, 0])


def test_a_copy_of_a_run_or_of_an_account_has_no_grant(
    without_ray: None, bucket: storage.Location, tmp_path: Path
) -> None:
    one, copy = Job(bucket / "one"), Job(bucket / "copy")
    words = [*BY_COLUMN, "account.rows=60", f"account.period={period(1)}", corpus(tmp_path / "a.parquet", 50)]
    here, other = f"account.path={bucket / 'account'}", [f"account.path={bucket / 'account'}", "budget.min_gain=0.2"]
    one.run(*words, here)
    for name in storage.list_tree(one.run_dir):
        storage.write_bytes(copy.run_dir / name, storage.read_bytes(one.run_dir / name))
    refused = copy.run(*words, *other, check=2).stderr
    assert f"run_dir {copy.run_dir} is a copy of {one.run_dir}, and one grant is not for both" in refused
    assert "draws from" in one.run(*words, f"account.path={bucket / 'account-copy'}", check=2).stderr
    Job(f"{one.run_dir}/").run(*words, *other)  # the same by another name
    book = Account(bucket / "account", period_of(period(1), date.today())).read()
    assert book is not None and {draw.state for draw in book.draws.values()} == {SETTLED}
    assert book.left() == 10, "a copy took nothing"
