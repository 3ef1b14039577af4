"""The durable account: several jobs at once never get more than there is, and what dead jobs have not spent returns."""

import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from routelmt_ray import storage
from routelmt_ray.account import book as books
from routelmt_ray.account.account import Account, periods
from routelmt_ray.account.book import RESERVED, RETURNED, SETTLED, Book, Draw
from routelmt_ray.account.offer import Offer
from routelmt_ray.config.account import AccountConfig, Period, period_of
from routelmt_ray.storage import lease
from tests.conftest import ROOT

NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 30))


def draw_of(granted: float, state: str = RESERVED, spent: float = 0.0, changed_s: float = 0.0) -> Draw:
    return Draw("runs/a", "2026-11-27", 10, granted, state, spent, changed_s)


TAKE = """
import sys
from pathlib import Path
from routelmt_ray.account import book as books
from routelmt_ray.account.book import Book, Draw
path, key = Path(sys.argv[1]), sys.argv[2]
for i in range(5):
    def edit(book):  # a tenth of what is left, at least 1
        granted = min(max(1, int(book.left() / 10)), int(book.left()))
        return book.with_draw(f"{key}-{i}", Draw("runs/a", "2026-11-27", 10, float(granted), "reserved", 0.0, 0.0))
    books.change(path, Book("rows", 60.0), edit)
"""
HOLD = """
import sys, time
from routelmt_ray.storage import lease
from tests.conftest import ROOT
with lease.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def start(code: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_jobs_at_once_never_get_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    jobs = [start(TAKE, path, i) for i in range(3)]
    assert [job.wait(timeout=100) for job in jobs] == [0, 0, 0]
    book = books.read(path)
    assert book is not None and len(book.draws) == 15 and 0 <= book.left() < 60
    assert book.reserved == sum(draw.granted for draw in book.draws.values())


def test_a_book_charges_grants_while_they_are_reserved_and_what_is_spent_afterwards() -> None:
    book = Book("rows", 100.0).with_draw("a", draw_of(40)).with_draw("b", draw_of(30, SETTLED, 10))
    assert (book.spent, book.reserved, book.left(), book.left(without="a")) == (10, 40, 50, 90)
    book = book.with_draw("c", draw_of(30, RETURNED, 5))
    assert book.left() == 45
    assert Book.from_bytes(book.to_bytes(), Path("x")) == book


def test_what_is_no_book_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    assert books.read(path) is None
    for content, words in (
        (b"{", "is not the book"),
        (b'{"format": 9}', "has format 9"),
        (b'{"format": 1}', "is not the book"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            books.read(path)


def test_what_a_killed_job_has_not_spent_returns_and_a_live_one_keeps_its_grant(tmp_path: Path) -> None:
    account = Account(tmp_path / "account", NOVEMBER)
    new = Book("rows", 100.0)
    account.change(new, lambda book: book.with_draw("a", draw_of(40)).with_draw("b", draw_of(30)))
    holder = start(HOLD, account.root / "jobs" / "a")
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    account.return_dead(0.0, lambda key, run_dir: {"runs/a": 7.0}[run_dir])  # b has no lease: it failed
    book = account.read()
    assert book is not None and (book.draws["a"].state, book.draws["b"].state) == (RESERVED, RETURNED)
    assert book.left() == 100 - 40 - 7

    holder.kill()
    holder.wait()
    account.return_dead(3600.0, lambda key, run_dir: 7.0)
    assert account.read() == book, "it may still go on"
    account.return_dead(0.0, lambda key, run_dir: None)
    assert account.read() == book, "nobody knows what it has spent"
    account.return_dead(0.0, lambda key, run_dir: {"a": 12.0}[key])
    book = account.read()
    assert book is not None and book.draws["a"].state == RETURNED and book.left() == 100 - 12 - 7


def lose_lease(path: storage.Location) -> None:
    storage.write_json(path, replace(lease.Lease.own(), id="other").__dict__)
    time.sleep(5)


def test_a_job_that_slept_while_its_grant_returned_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    account = Account(tmp_path, NOVEMBER)
    with pytest.raises(lease.Lost, match="another job returned what it had not spent"), account.at_work("a"):
        lose_lease(account.root / "jobs" / "a" / lease.FILE)


def test_nights_are_those_of_the_last_weeks(tmp_path: Path) -> None:
    account, today = Account(tmp_path, NOVEMBER), date(2026, 11, 27)
    offer = Offer.of_bins(5, 0.0, np.ones(5), np.ones(5))
    for days, key, kind in ((0, "me", "x"), (1, "a-b", "x"), (2, "c", "y"), (57, "d", "x")):
        account.add_night(key, today - timedelta(days), kind, offer)
    account.add_night("a-b", today, "y", replace(offer, rows=9))  # it drew again, a day later
    found = account.nights(today, "x", without="me")
    assert sorted((night.day.day, night.alike, night.offer.rows) for night in found) == [(25, False, 5), (26, True, 5)]


def test_a_period_is_read_from_text_and_an_account_lists_its_periods(tmp_path: Path) -> None:
    day = date(2026, 2, 26)
    assert period_of("month", day) == Period(date(2026, 2, 1), date(2026, 2, 28))
    assert period_of("month", date(2026, 12, 31)) == Period(date(2026, 12, 1), date(2026, 12, 31))
    assert period_of("week", day) == Period(date(2026, 2, 23), date(2026, 3, 1))
    assert period_of("2026-02-01/2026-03-15", day).name == "2026-02-01_2026-03-15"
    for text in ("year", "2026-02-01", "2026-02-02/2026-02-01", "2026-02-01/2026-02-30"):
        with pytest.raises(ValueError):
            period_of(text, day)
    for period in (NOVEMBER, period_of("month", day)):
        Account(tmp_path, period).change(Book("rows", 1.0), lambda book: book.with_draw("a", draw_of(1)))
    assert periods(tmp_path) == [period_of("month", day), NOVEMBER]


def test_a_configuration_names_one_allowance() -> None:
    hours, money, rows = (AccountConfig(path="a", **one) for one in ({"gpu_hours": 2.0}, {"money": 5.0}, {"rows": 7}))  # type: ignore[arg-type]
    assert [(each.allowance, each.unit("EUR")) for each in (hours, money, rows)] == [
        (7200, "device_s"),
        (5, "EUR"),
        (7, "rows"),
    ]
    for both in ({}, {"gpu_hours": 1.0, "rows": 1}, {"money": 1.0, "rows": 0}):
        with pytest.raises(ValueError, match="set exactly one"):
            AccountConfig(path="a", **both)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "content", ["", "{}", '{"kind": "x", "offer": {"rows": null, "base": 0, "prices": [], "units": []}}', "[]"]
)
def test_a_night_that_cannot_be_read_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    account, today = Account(tmp_path, NOVEMBER), date(2026, 11, 27)
    account.add_night("a", today, "x", Offer.of_bins(5, 0.0, np.ones(5), np.ones(5)))
    (tmp_path / "nights" / "2026-11-26-b.json").write_text(content)
    (tmp_path / "nights" / "2026-13-99-c.json").write_text("{}")
    assert [night.offer.rows for night in account.nights(today, "x", without="me")] == [5]
    assert "2026-11-26-b.json is left out" in caplog.text and "2026-13-99-c.json is left out" in caplog.text
