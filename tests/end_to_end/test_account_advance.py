"""Whole jobs on an account in hours, with device clocks that are simulated: scores are paid from an advance, never beyond what is left."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from routelmt_ray.account import book as books
from routelmt_ray.account.book import REFUSED, SCORING, SETTLED, Book
from routelmt_ray.job import accounts
from routelmt_ray.job.account_advance import Advance
from routelmt_ray.job.account_view import view
from routelmt_ray.job.status import status
from routelmt_ray.reports.status_table import print_account, print_status
from routelmt_ray.stages import score, translate
from tests.conftest import DEMO_CONFIG, Job
from tests.end_to_end import ended, virtual
from tests.end_to_end.test_account import period

pytestmark = pytest.mark.usefixtures("without_ray")
ROWS = 24
BASE_S = 10 + 20 + 8 + ROWS * (0.5 + 0.2)
"""Loads of all models, scores, and the small model on every row."""


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of a job with simulated clocks, but its run directory and its allowance."""
    monkeypatch.setattr(translate, "Translate", virtual.Translate)
    monkeypatch.setattr(score, "Probe", virtual.Probe)
    texts = [f"The dog number {i} sleeps{' well' * (i % 7)}." for i in range(ROWS)]
    columns = {"source": texts, "source_lang": ["en"] * ROWS, "target_lang": ["de"] * ROWS, "id": range(ROWS)}
    pq.write_table(pa.table({**columns, "reference": texts}), tmp_path / "in.parquet")
    return [
        f"input.path={tmp_path / 'in.parquet'}", "input.shard_rows=4", "models.small.batch_rows=4", "models.large.batch_rows=4",
        "budget.fraction=null", "budget.tranches=2", f"account.path={tmp_path / 'account'}", f"account.period={period(1)}",
        f"cost.path={tmp_path / 'cost.json'}",
    ]  # fmt: skip


def hours(seconds: float) -> str:
    return f"account.gpu_hours={seconds / 3600}"


def write_costs(tmp_path: Path, words: list[str]) -> None:
    virtual.write_costs(tmp_path / "cost.json", ["run_dir=x", *words, hours(1)], (1.0, 1.0), [DEMO_CONFIG])


def start(job: Job, words: list[str], seconds: float, check: int = 0) -> str:
    return job.run(*words, hours(seconds), config=DEMO_CONFIG, check=check).stderr


def book_of(tmp_path: Path) -> Book:
    (path,) = (tmp_path / "account").glob("*_*.json")
    book = books.read(path)
    assert book is not None
    return book


def after_first_scores(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Any]) -> None:
    """Does something once, when the first shard of scores is committed."""
    watch = Advance.watch

    def watch_and_do(advance: Advance, *commit: Any) -> None:
        monkeypatch.setattr(Advance, "watch", watch)
        do()
        watch(advance, *commit)

    monkeypatch.setattr(Advance, "watch", watch_and_do)


def test_a_job_that_cannot_pay_for_itself_is_refused_before_it_scores(words: list[str], tmp_path: Path) -> None:
    write_costs(tmp_path, words)
    job = Job(tmp_path / "run")
    refused = start(job, words, 0.9 * BASE_S, check=2)
    assert "0.0 s spent and 0.0 s reserved; by its profile, this job needs 54.8 s even if it routes no row" in refused
    assert not (job.run_dir / "scores").exists() and not (job.run_dir / "meter").exists()
    ((_, draw),) = book_of(tmp_path).draws.items()
    assert (draw.state, draw.charged) == (REFUSED, 0)
    start(job, words, 4 * BASE_S)
    book = book_of(tmp_path)
    assert book.left() > 0 and {draw.state for draw in book.draws.values()} == {SETTLED}


def test_scores_that_take_more_than_their_profile_says_end_before_the_account_is_empty(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_costs(tmp_path, words)
    monkeypatch.setitem(virtual.ROW_S, "probe", 5.0)  # much more than the profile says: 128 s with the load
    words, job, allowance = [*words, "input.shard_rows=1"], Job(tmp_path / "run"), BASE_S + 10
    refused = start(job, words, allowance, check=2)
    assert "scoring takes more than its profile says, and this job now needs" in refused
    ((key, draw),) = book_of(tmp_path).draws.items()
    assert draw.state == REFUSED and 0.8 * allowance < draw.spent <= allowance
    assert 3 < len(list((job.run_dir / "scores").glob("*.parquet"))) < ROWS / 2, "what is scored is kept"

    start(job, words, 10 * BASE_S)
    draw = book_of(tmp_path).draws[key]
    assert draw.state == SETTLED and BASE_S + 110 <= draw.spent <= draw.granted


def test_an_advance_is_kept_from_other_jobs_and_becomes_the_grant(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_costs(tmp_path, words)
    first, second, seen = Job(tmp_path / "first"), Job(tmp_path / "second"), list[Book]()
    allowance = 2.5 * BASE_S

    def second_works() -> None:
        seen.append(book_of(tmp_path))
        start(second, words, allowance)

    after_first_scores(monkeypatch, second_works)
    start(first, words, allowance)
    ((_, advance),) = seen[0].draws.items()
    assert advance.state == SCORING and BASE_S <= advance.granted < 1.2 * BASE_S
    book, (one, two) = book_of(tmp_path), (job.report()["account"] for job in (first, second))
    assert two["granted"] <= allowance - advance.granted and one["granted"] <= allowance - two["used"]
    assert (
        all(draw.state == SETTLED and draw.spent <= draw.granted for draw in book.draws.values()) and book.left() >= 0
    )


def test_repeats_need_no_advance(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pq.read_table(tmp_path / "in.parquet")
    pq.write_table(pa.concat_tables([table.slice(0, 6)] * 4), tmp_path / "in.parquet")
    write_costs(tmp_path, words)
    seen: list[Book] = []
    after_first_scores(monkeypatch, lambda: seen.append(book_of(tmp_path)))
    start(Job(tmp_path / "run"), [*words, "input.duplicates=once"], 4 * BASE_S)
    assert 38 + 6 * 0.7 <= seen[0].reserved < 1.1 * (38 + 6 * 0.7)


def test_a_job_that_dies_while_it_scores_is_charged_what_it_spent_and_starts_with_a_new_advance(
    words: list[str], tmp_path: Path
) -> None:
    write_costs(tmp_path, words)
    dead, other = Job(tmp_path / "dead"), Job(tmp_path / "other")
    with ended.commits("scores"), pytest.raises(ended.Ended):
        start(dead, words, 10 * BASE_S)
    ((key, draw),) = book_of(tmp_path).draws.items()
    assert draw.state == SCORING and draw.charged == draw.granted >= BASE_S
    print_status(status(str(dead.run_dir)), Console(file=(shown := StringIO()), width=300))
    assert "reserved until its rows are scored; of " in shown.getvalue()
    print_account(view(str(tmp_path / "account")), Console(file=(shown := StringIO()), width=300))
    assert " scoring " in shown.getvalue() and "forecast" not in shown.getvalue()

    start(other, [*words, "account.keep_hours=0"], 10 * BASE_S)
    draw = book_of(tmp_path).draws[key]
    assert draw.state == REFUSED and 8 + 0.2 * 4 <= draw.charged < BASE_S
    start(dead, words, 10 * BASE_S)
    draw = book_of(tmp_path).draws[key]
    assert draw.state == SETTLED and draw.spent >= BASE_S + 8 and book_of(tmp_path).left() > 0, "the probe loaded twice"


def test_an_advance_is_charged_with_what_its_job_has_spent(words: list[str], tmp_path: Path) -> None:
    """A job that was refused starts again, and is killed in the moment in which it is refused again: less is left than it spent."""
    write_costs(tmp_path, words)
    job, allowance = Job(tmp_path / "run"), 10 * BASE_S
    with ended.commits("scores"), pytest.raises(ended.Ended):
        start(job, words, allowance)
    ((key, draw),) = book_of(tmp_path).draws.items()
    (path,) = (tmp_path / "account").glob("*_*.json")
    refused, other = replace(draw, state=REFUSED, granted=0.0, spent=8.8), replace(draw, granted=allowance - 4)
    books.change(path, Book("", 0.0), lambda book: book.with_draw(key, refused).with_draw("other", other))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_leave", lambda *_, **__: None)
        start(job, words, allowance, check=2)
    draw = book_of(tmp_path).draws[key]
    assert draw.state == SCORING and draw.charged >= 8 + 0.2 * 4
