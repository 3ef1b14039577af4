"""Whole jobs that take their budget from an account: one after another, at the same time, killed."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import account as show
from routelmt_ray.account import book as books
from routelmt_ray.account.account import Account
from routelmt_ray.account.book import RESERVED, RETURNED, SETTLED, Book, Draw
from routelmt_ray.config.account import Period
from routelmt_ray.job import account_run, accounts, translation
from routelmt_ray.job.status import status
from tests.conftest import DEMO_CONFIG, ROOT, Job, copy_of
from tests.end_to_end.runs import ECHO
from tests.runtime.noted import figures_of_this_process, noted
from tests.without_ray import without_ray as in_process

BY_COLUMN = [*ECHO, "router.kind=column", "router.column=score", "router.scale=1"]


def today() -> date:
    return datetime.now(UTC).date()


def period(days: int) -> str:
    """Today and the days after it."""
    return f"{today()}/{today() + timedelta(days - 1)}"


def corpus(path: Path, rows: int, seed: int = 0) -> str:
    scores = np.random.default_rng(seed).normal(0.2, 0.1, rows)
    pq.write_table(pa.table({"source": [f"row {i}" for i in range(rows)], "score": scores}), path)
    return f"input.path={path}"


def book_of(folder: Path) -> Book:
    (path,) = folder.glob("*_*.json")
    book = books.read(path)
    assert book is not None
    return book


def test_nights_share_an_allowance_and_the_last_one_uses_what_is_left(
    without_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "account"
    words = [*BY_COLUMN, f"account.path={folder}", "account.rows=60"]
    first, night = Job(tmp_path / "1"), corpus(tmp_path / "1.parquet", 100)
    dry = first.run(*words, night, f"account.period={period(10)}", "budget.dry_run=true", "cost.rows=16")
    assert "account      6 rows granted" in dry.stdout
    assert not folder.exists() or not list(folder.glob("*.json")), "a dry run takes nothing"

    with figures_of_this_process() as figures:
        ended = first.run(*words, night, f"account.period={period(10)}")
    exported = {name: values[-1] for name, values in noted(figures).items()}
    amounts = [exported[f"routelmt_account_{name}"] for name in ("allowance", "granted", "left")]
    assert amounts == [(60,), (6,), (54,)] and exported["routelmt_routed_rows"] == (6,)
    report = first.report()
    assert report["budget"]["routed"] == report["account"]["granted"] == 6, "a tenth of the rows that are expected"
    assert (report["account"]["left"], report["account"]["state"]) == (54, SETTLED)
    assert "6 rows granted, 6 rows used" in ended.stdout and str(folder) in ended.stdout
    routed = np.argsort(pq.read_table(tmp_path / "1.parquet")["score"].to_numpy())[-6:]
    assert {i for i, route in enumerate(first.output()["route"].to_pylist()) if route == "large"} == set(routed)
    assert "6 rows granted, 6 rows used" in (first.run_dir / "report.html").read_text()
    assert status(str(first.run_dir))["account"] == report["account"]
    elsewhere = first.run(*words, night, f"account.path={tmp_path / 'other'}", check=2).stderr
    assert f"draws from {folder}; name that account, or use a new run_dir" in elsewhere
    hours = Job(tmp_path / "hours").run(*BY_COLUMN, night, f"account.path={folder}", "account.gpu_hours=1",
        f"account.period={period(10)}", check=2).stderr  # fmt: skip
    assert "account.gpu_hours is set, but account" in hours and "has account.rows in the period" in hours
    assert "nothing to do" in first.run(*words, night, f"account.period={period(10)}").stderr

    second = Job(tmp_path / "2")
    told = [*words, corpus(tmp_path / "2.parquet", 100, 1), f"account.period={period(10)}"]
    second.run(*told, "account.expected_rows=250")
    assert book_of(folder).left() == 54 - second.report()["account"]["granted"] > 10

    (only,) = folder.glob("*_*.json")
    only.rename(folder / f"{today()}_{today()}.json")  # the period ends today
    last = Job(tmp_path / "3")
    last.run(*words, corpus(tmp_path / "3.parquet", 100, 2), f"account.period={period(1)}")
    assert book_of(folder).left() == 0 and last.report()["budget"]["routed"] == last.report()["account"]["granted"] > 10

    capsys.readouterr()
    assert show.main([f"path={folder}", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["allowance"], shown["spent"], shown["reserved"], shown["left"], shown["rows"]) == (60, 60, 0, 0, 300)
    assert show.main([f"path={folder}"]) == 0
    assert "settled" in (text := capsys.readouterr().out) and "60 rows (100.0 %)" in text


def test_a_budget_in_hours_from_an_account(without_ray: None, tmp_path: Path) -> None:
    folder, job = tmp_path / "account", Job(tmp_path / "run")
    words = [*BY_COLUMN, f"account.path={folder}", f"account.period={period(1)}", "cost.rows=16", "budget.tranches=2"]
    night = corpus(tmp_path / "in.parquet", 200)
    past = f"account.period={today() - timedelta(3)}/{today()}"
    refused = job.run(*words, night, "account.gpu_hours=0.000001", past, check=2).stderr
    assert "this job needs" in refused and "raise the allowance" in refused
    (draw,) = book_of(folder).draws.values()
    assert draw.spent > 0, "what it has spent is charged"
    for path in folder.glob("*_*.json"):  # it has not drawn: in the next period it draws there
        path.unlink()
    job.run(*words, night, "account.gpu_hours=1")
    report, book = job.report(), book_of(folder)
    assert (
        report["spend"]["budget_s"] == pytest.approx(report["account"]["granted"])
        and report["account"]["granted"] < 3600
    )
    assert (
        book.spent == pytest.approx(report["spend"]["spent_s"], rel=0.05) and book.spent < report["account"]["granted"]
    )
    assert report["budget"]["routed"] > 100


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("forked_workers")
def test_three_jobs_of_the_embedded_pair_one_killed_and_two_at_once_share_an_allowance(
    demo_corpus: pa.Table, tmp_path: Path
) -> None:
    """The first is killed while its large model works. The others then start at the same time. The first goes on last."""
    folder = tmp_path / "account"
    for number in range(3):
        pq.write_table(demo_corpus.slice(60 * number, 60), tmp_path / f"{number}.parquet")
    jobs = [Job(tmp_path / f"run{number}") for number in range(3)]
    words = [
        "budget.fraction=null", f"account.path={folder}", "account.rows=60", f"account.period={period(2)}",
        "account.expected_rows=180", "input.shard_rows=15",
    ]  # fmt: skip
    nights = [[*words, f"input.path={tmp_path / f'{number}.parquet'}"] for number in range(3)]
    at_large: Callable[[Path], bool] = lambda run_dir: any((run_dir / "large" / "000").glob("*.parquet"))  # noqa: E731
    jobs[0].kill_when(at_large, *nights[0], config=DEMO_CONFIG)
    (killed,) = book_of(folder).draws.values()
    assert killed.state == RESERVED and 10 <= killed.granted <= 30

    started = [
        subprocess.Popen(job.command(*night, config=DEMO_CONFIG), cwd=ROOT, stderr=subprocess.PIPE)
        for job, night in zip(jobs[1:], nights[1:])
    ]
    for process in started:
        _, said = process.communicate(timeout=250)
        assert process.returncode == 0, said.decode()
    book, granted = book_of(folder), [job.report()["account"]["granted"] for job in jobs[1:]]
    assert min(granted) > 0 and sum(granted) <= 60 - killed.granted and book.reserved == killed.granted, (
        "it keeps its part"
    )

    with in_process():
        jobs[0].run(*nights[0], config=DEMO_CONFIG)
    rows = pa.concat_tables([job.output().select(["predicted_gain", "route"]) for job in jobs]).to_pydict()
    gains, sent = np.array(rows["predicted_gain"]), np.array(rows["route"]) == "large"
    book = book_of(folder)
    assert (
        sent.sum() == book.spent <= 60 and book.reserved == 0 and jobs[0].report()["budget"]["routed"] == killed.granted
    )
    assert gains[sent].sum() > 0.9 * np.sort(gains)[-60:].sum(), "nearly what one exact allocation over all three wins"


def test_what_a_killed_job_has_not_spent_returns_and_the_job_is_refused_what_another_took(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, stopped = tmp_path / "account", Job(tmp_path / "stopped")
    words = [*BY_COLUMN, f"account.path={folder}", "account.rows=60", f"account.period={period(1)}"]
    night = corpus(tmp_path / "a.parquet", 50)
    with monkeypatch.context() as broken:
        broken.setattr("jobs.translate.translation.allocate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            stopped.run(*words, night)
    assert [draw.state for draw in book_of(folder).draws.values()] == [RESERVED]
    small, big = Job(tmp_path / "small"), Job(tmp_path / "big")
    small.run(*words, corpus(tmp_path / "b.parquet", 40, 1))
    assert small.report()["budget"]["routed"] == 10, "the stopped job may still go on"
    big.run(*words, corpus(tmp_path / "c.parquet", 40, 2), "account.keep_hours=0")
    assert [draw.state for draw in book_of(folder).draws.values()] == [RETURNED, SETTLED, SETTLED]
    assert big.report()["budget"]["routed"] == 40

    refused = stopped.run(*words, night, check=2).stderr
    assert "This run was granted 50 rows. It gave no sign of life, and what it had not spent returned" in refused
    stopped.run(*words, night, "account.rows=100")
    book = book_of(folder)
    assert (book.allowance, book.spent, stopped.report()["budget"]["routed"]) == (100, 100, 50)


draw_of_all = Draw("runs/x", "2026-11-27", 10, 0.0, RESERVED, 0.0, time.time())


def clock_at(day: date) -> type[datetime]:
    """The clock of a day."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(day.year, day.month, day.day, 0, 10, tzinfo=tz)

    return Clock


def set_clock(patch: pytest.MonkeyPatch, day: date) -> None:
    for module in (accounts, account_run):
        patch.setattr(module, "datetime", clock_at(day))


def test_a_job_keeps_the_period_in_which_it_started(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job scores past midnight of the last day, fails, and is started again two days later."""
    folder, job, last = tmp_path / "account", Job(tmp_path / "run"), today()
    words = [*BY_COLUMN, f"account.path={folder}", "account.rows=60", f"account.period={last - timedelta(6)}/{last}"]
    night, scored = corpus(tmp_path / "a.parquet", 100), accounts.draw

    def after_midnight(*args: Any) -> Any:
        set_clock(monkeypatch, last + timedelta(1))
        return scored(*args)

    with monkeypatch.context() as broken:
        broken.setattr("jobs.translate.translation.allocate", lambda *_: 1 / 0)
        broken.setattr(accounts, "draw", after_midnight)
        with pytest.raises(ZeroDivisionError):
            job.run(*words, night)
    assert book_of(folder).reserved == 60, "it is the last job of its period"
    assert status(str(job.run_dir))["account"]["granted"] == 60
    refused = Job(tmp_path / "late").run(*words, corpus(tmp_path / "b.parquet", 10), check=2).stderr
    assert f"but today is {last + timedelta(1)} (UTC)" in refused

    set_clock(monkeypatch, last + timedelta(2))
    job.run(*words, night)
    report = job.report()
    assert (report["budget"]["routed"], report["account"]["last"]) == (60, f"{last}")
    assert book_of(folder).spent == 60


def test_a_settled_job_that_works_again_takes_no_more_than_is_left(without_ray: None, tmp_path: Path) -> None:
    folder, job = tmp_path / "account", Job(tmp_path / "run")
    words = [
        *BY_COLUMN, f"account.path={folder}", "account.gpu_hours=1", f"account.period={period(1)}", "cost.rows=16",
        "budget.tranches=1", corpus(tmp_path / "a.parquet", 40),
    ]  # fmt: skip
    job.run(*words, "budget.min_gain=0.2")
    ((key, draw),) = book_of(folder).draws.items()
    half = (draw.granted - draw.spent) / 2
    other = replace(draw, granted=3600 - draw.spent - half, state=RESERVED)
    (path,) = folder.glob("*_*.json")
    books.change(path, Book("", 0.0), lambda book: book.with_draw("other", other))
    job.run(*words)  # with another bound it plans again
    report, book = job.report(), book_of(folder)
    assert report["spend"]["budget_s"] == pytest.approx(draw.spent + half)
    assert book.draws[key].state == SETTLED and book.left() > 0
    assert "nothing to do" in job.run(*words).stderr


def test_a_job_may_find_nothing_left_and_an_allowance_may_change(without_ray: None, tmp_path: Path) -> None:
    folder = tmp_path / "account"
    words = [*BY_COLUMN, f"account.path={folder}", f"account.period={period(1)}"]
    for name, rows, granted, left in (("one", 20, 20, 0), ("poor", 20, 0, 0), ("less", 10, 0, -10), ("more", 25, 5, 0)):
        job = Job(tmp_path / name)
        job.run(*words, corpus(tmp_path / f"{name}.parquet", 30), f"account.rows={rows}")
        report, book = job.report(), book_of(folder)
        assert report["budget"]["routed"] == report["account"]["granted"] == granted
        assert (book.allowance, book.left(), job.output().num_rows) == (rows, left, 30)
    hours = [word.replace(str(folder), str(tmp_path / "hours")) for word in words] + ["account.gpu_hours=0.001"]
    place = Account(tmp_path / "hours", Period(today(), today()))
    place.change(Book("device_s", 3.6), lambda book: book.with_draw("x", replace(draw_of_all, granted=3.6)))
    refused = Job(tmp_path / "none").run(*hours, corpus(tmp_path / "none.parquet", 30), check=2).stderr
    assert "nothing is left for this job; raise the allowance" in refused


def test_another_plan_of_a_settled_job_sends_no_more_rows_than_are_left(without_ray: None, tmp_path: Path) -> None:
    """The first plan sends the best 40 rows, all of the part `a`; the second may send only 5 of these."""
    job, path = Job(tmp_path / "run"), tmp_path / "in.parquet"
    columns = {"source": [f"row {i}" for i in range(100)], "score": np.arange(100) / 100}
    pq.write_table(pa.table({**columns, "part": ["b"] * 50 + ["a"] * 50}), path)
    words = [*BY_COLUMN, f"input.path={path}", f"account.path={tmp_path / 'account'}", f"account.period={period(1)}"]
    other = ["budget.strata=part", "budget.caps={a: 0.1}"]
    job.run(*words, "account.rows=40")
    refused = job.run(*words, *other, "account.rows=60", check=2).stderr
    assert "with those of this plan it would have sent 75 rows, and may send 60 rows; go back to the earlier" in refused
    job.run(*words, "account.rows=60")
    assert book_of(tmp_path / "account").left() == 20

    job.run(*words, *other, "account.rows=80")
    book, sent = book_of(tmp_path / "account"), list((job.run_dir / "large").rglob("*.parquet"))
    assert sum(pq.read_metadata(each).num_rows for each in sent) == 75 == book.spent
    assert job.report()["budget"]["routed"] == 40
    assert "nothing to do" in job.run(*words, *other, "account.rows=80").stderr
    job.run(*words, "account.rows=80")
    assert book_of(tmp_path / "account").spent == 75, "the first plan again sends nothing"


def test_a_copy_of_a_run_directory_has_no_grant(without_ray: None, tmp_path: Path) -> None:
    folder, one = tmp_path / "account", Job(tmp_path / "one")
    words = [*BY_COLUMN, f"account.path={folder}", "account.rows=60", f"account.period={period(1)}"]
    night = corpus(tmp_path / "a.parquet", 50)
    one.run(*words, night)
    copy = copy_of(one, tmp_path / "copy")
    refused = copy.run(*words, night, "budget.min_gain=0.2", check=2).stderr
    assert f"is a copy of {one.run_dir}, and one grant is not for both; use a new run_dir" in refused
    one.run_dir.rename(tmp_path / "moved")
    (tmp_path / "one").symlink_to(tmp_path / "moved")
    Job(tmp_path / "moved").run(*words, night, "budget.min_gain=0.2")  # the same by another name
    (draw,) = book_of(folder).draws.values()
    assert (draw.state, draw.run_dir) == (SETTLED, str(tmp_path / "moved"))


def test_an_account_has_one_period_and_one_unit_at_a_time(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, one = tmp_path / "account", Job(tmp_path / "one")
    words = [*BY_COLUMN, f"account.path={folder}", "account.rows=60", corpus(tmp_path / "a.parquet", 50)]
    one.run(*words, f"account.period={period(3)}")
    second = Job(tmp_path / "two").run(*words, f"account.period={period(2)}", check=2).stderr
    assert "a second period would have an allowance beside that one; keep that period until it ends" in second

    nights = Account.nights

    def draw_first(account: Account, *args: Any) -> Any:
        account.change(Book("device_s", 60.0), lambda book: book)
        return nights(account, *args)

    monkeypatch.setattr(Account, "nights", draw_first)  # another first job of the period, between a check and a draw
    other = f"account.path={tmp_path / 'other'}"
    raced = Job(tmp_path / "three").run(*words, other, f"account.period={period(3)}", check=2).stderr
    assert "account.rows is set, but account" in raced and "has account.gpu_hours in the period" in raced


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["account.path=x", "account.rows=5", "budget.rows=5"], "budget.rows is set too; leave one out"),
        (["account.path=x"], "account: no allowance is set; set exactly one of"),
        (
            ["account.path=x", "account.rows=5", "account.gpu_hours=1"],
            "account: account.gpu_hours and account.rows are set",
        ),
        (["account.rows=5"], "budget: none is set"),
        (
            ["account.path=x", "account.rows=5", "account.period=year"],
            "account.period is 'year'; it must be month, week or",
        ),
        (
            ["account.path=x", "account.rows=5", "account.period=2020-01-01/2020-01-31"],
            "account.period is 2020-01-01/2020-01-31, but today is",
        ),
    ],
)
def test_a_bad_account_is_refused_before_ray_starts(job: Job, words: list[str], message: str, no_cluster: None) -> None:
    assert message in job.run("input.path=README.md", *BY_COLUMN, *words, check=2).stderr
    assert not job.run_dir.exists()


def test_a_new_run_in_the_folder_of_a_dead_one_does_not_return_what_that_spent(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, job, night = tmp_path / "account", Job(tmp_path / "run"), corpus(tmp_path / "a.parquet", 50)
    words = [*BY_COLUMN, f"account.path={folder}", "account.rows=60", f"account.period={period(1)}"]
    with monkeypatch.context() as broken:  # it ends when its rows are translated
        broken.setattr("jobs.translate.translation.merge_plan", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            job.run(*words, night)
    shutil.rmtree(job.run_dir)
    job.run(*words, night, "account.keep_hours=0")
    book = book_of(folder)
    assert [draw.state for draw in book.draws.values()] == [RESERVED, SETTLED]
    assert "its folder cannot be read or has another run; its 50 stay reserved" in caplog.text
    assert job.report()["budget"]["routed"] == 10 and book.left() == 0


def test_a_second_period_that_begins_while_the_first_job_scores_is_refused(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, nights = tmp_path / "account", Account.nights
    words = [*BY_COLUMN, f"account.path={folder}", corpus(tmp_path / "a.parquet", 50), "cost.rows=16"]

    def other_draws(account: Account, *args: Any) -> Any:
        other = Account(account.root, Period(today(), today() + timedelta(1)))
        other.change(Book("rows", 60.0), lambda book: book.with_draw("x", draw_of_all))
        return nights(account, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Account, "nights", other_draws)
        refused = Job(tmp_path / "rows").run(*words, "account.rows=60", f"account.period={period(3)}", check=2).stderr
    assert "a second period would have an allowance beside that one" in refused
    assert len(list(folder.glob("*_*.json"))) == 1, "and it has no book"

    with monkeypatch.context() as patch:  # the other one has drawn since the checks of this start
        patch.setattr(account_run, "check_period", lambda *_: None)
        refused = (
            Job(tmp_path / "hours").run(*words, "account.gpu_hours=1", f"account.period={period(3)}", check=2).stderr
        )
    assert "a second period would have" in refused
    assert not (tmp_path / "hours" / "profile").exists()


def test_a_settled_job_has_its_output_made_again_when_nothing_is_left(without_ray: None, tmp_path: Path) -> None:
    folder, job = tmp_path / "account", Job(tmp_path / "run")
    words = [
        *BY_COLUMN, f"account.path={folder}", "account.gpu_hours=1", f"account.period={period(1)}", "cost.rows=16",
        "budget.tranches=1", corpus(tmp_path / "a.parquet", 40),
    ]  # fmt: skip
    job.run(*words)
    ((key, draw),) = book_of(folder).draws.items()
    (path,) = folder.glob("*_*.json")
    other = replace(draw, granted=3600 - draw.spent, state=RESERVED)
    books.change(path, Book("", 0.0), lambda book: book.with_draw("other", other))
    before = job.plan()
    checks = ["checks.copy.action=flag", "checks.columns=true"]
    job.run(*words, *checks)
    assert job.plan() == before and "check_copy" in job.output().column_names
    mine = book_of(folder).draws[key]
    assert (mine.state, mine.granted, mine.spent) == (SETTLED, pytest.approx(draw.spent), draw.spent)
    assert "nothing to do" in job.run(*words, *checks).stderr
    refused = job.run(*words, "budget.min_gain=0.2", check=2).stderr
    assert "even if no row is routed" in refused, "another plan has only what is left"


def test_the_last_job_gets_the_last_row_also_where_its_share_is_rounded(without_ray: None, tmp_path: Path) -> None:
    job, path = Job(tmp_path / "run"), tmp_path / "in.parquet"
    pq.write_table(pa.table({"source": [f"row {i}" for i in range(49)], "score": [0.5] * 49}), path)
    assert 49 * (1 / 49) < 1
    job.run(
        *BY_COLUMN,
        f"input.path={path}",
        f"account.path={tmp_path / 'a'}",
        "account.rows=1",
        f"account.period={period(1)}",
    )
    assert job.report()["budget"]["routed"] == job.report()["account"]["granted"] == 1


def test_a_job_whose_account_is_removed_completes_its_output(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, allocate = Job(tmp_path / "run"), translation.allocate

    def removed(*args: Any) -> None:
        for path in (tmp_path / "account").glob("*_*.json"):
            path.unlink()
        allocate(*args)

    monkeypatch.setattr(translation, "allocate", removed)
    account = [f"account.path={tmp_path / 'account'}", "account.rows=6", f"account.period={period(1)}"]
    said = job.run(*BY_COLUMN, corpus(tmp_path / "a.parquet", 20), *account).stderr
    assert "its book was removed while this job ran" in said and job.report()["budget"]["routed"] == 6
