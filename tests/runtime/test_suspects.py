"""The row that kills its engine is found, within a bounded number of deaths, whoever else dies meanwhile."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray.runtime import suspects
from routelmt_ray.runtime.suspects import Attempt, Mark, ShardGivenUp
from routelmt_ray.storage.rundir import RunDir


def attempt(run: RunDir, rows: int, poison: set[int], dies_anyway: bool = False) -> list[int] | None:
    """What an actor does with a shard: the rows that were answered, None where it died."""
    tried = Attempt(run, "large/000", 3, rows)
    answered: list[int] = []
    for part in tried.mark.parts():
        tried.enter(part)
        if dies_anyway or poison & set(part):
            return None
        answered += part
    tried.close()
    return answered


@settings(deadline=None)
@given(
    st.integers(1, 3000).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=3))),
    st.integers(0, 2),
)
def test_poison_rows_and_no_others_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[int, set[int]], accidents: int
) -> None:
    rows, poison = case
    run = RunDir(tmp_path_factory.mktemp("run"))
    deaths = 0
    while (answered := attempt(run, rows, poison, dies_anyway=deaths < accidents)) is None:
        deaths += 1
        assert deaths <= accidents + 1 + 4 * len(poison)
    missing = set(range(rows)) - set(answered)
    assert missing == poison or (
        rows == 1 and accidents == 2
    )  # nobody can tell an accident that strikes a lone row twice
    assert len(answered) == len(set(answered))
    known = suspects.deaths(run)
    assert [(name, mark.deaths_in_all) for name, mark in known] == [("large/000/shard-000003", deaths)] * bool(deaths)
    assert all(set(mark.convicted) == missing for _, mark in known)


def test_an_undisturbed_attempt_leaves_nothing(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert attempt(run, 10, set()) == list(range(10))
    assert suspects.deaths(run) == [] and not list(tmp_path.rglob("*.json"))


def test_an_engine_that_dies_on_any_row_is_given_up_before_its_rows_are(tmp_path: Path) -> None:
    run, deaths = RunDir(tmp_path), 0

    def try_on() -> None:
        nonlocal deaths
        while attempt(run, 500, set(range(500))) is None:
            deaths += 1

    with pytest.raises(ShardGivenUp, match=r"shard 3 of large/000, whichever rows it had.*remove .*shard-000003.json"):
        try_on()
    ((_, mark),) = suspects.deaths(run)
    assert len(mark.convicted) == suspects.MOST_CONVICTED and deaths <= 4 * (suspects.MOST_CONVICTED + 1) + 1


def test_marks_of_another_number_of_rows_are_of_other_work(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert attempt(run, 10, {4}) is None
    assert Attempt(run, "large/000", 3, 11).mark == Mark(11)
    assert Attempt(run, "large/000", 3, 10).mark.deaths == 1
