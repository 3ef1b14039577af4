"""Batches are a function of the lengths, within their bounds; a failure stays with its row."""

import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routelmt_ray.engines import EngineDead, EveryRowFailed
from routelmt_ray.engines.batching import MANY, length_batches, run_batches, run_isolating


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), max_size=60), st.integers(1, 9), st.integers(1, 400))
def test_every_row_is_in_one_batch_within_the_bounds(
    rows: list[tuple[int, int]], max_rows: int, max_tokens: int
) -> None:
    lengths, rooms = [length for length, _ in rows], [room for _, room in rows]
    batches = length_batches(lengths, rooms, max_rows, max_tokens)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    for batch in batches:
        padded = len(batch) * (max(lengths[i] for i in batch) + max(rooms[i] for i in batch))
        assert len(batch) <= max_rows
        assert len(batch) == 1 or padded <= max_tokens
    sizes = [lengths[i] + rooms[i] for batch in batches for i in batch]
    assert sizes == sorted(sizes, reverse=True)


def test_rows_of_like_length_share_a_batch() -> None:
    assert length_batches([5, 50, 6, 49], [0] * 4, 2, 1000) == [[1, 3], [2, 0]]


@given(st.sets(st.integers(0, 19)))
def test_only_the_rows_that_fail_alone_are_failed(poison: set[int]) -> None:
    def run(rows: list[int]) -> list[str]:
        if poison & set(rows):
            raise ValueError("poison")
        return [f"ok {row}" for row in rows]

    results = run_isolating(run, list(range(20)), lambda error: f"failed: {error}", ())
    assert results == ["failed: poison" if row in poison else f"ok {row}" for row in range(20)]


class Tensor:
    """Stands for memory that a batch takes."""


@pytest.mark.parametrize("chained", [False, True])
def test_what_a_failed_batch_held_is_released_before_its_halves_run(chained: bool) -> None:
    held: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def compute(tensor: Tensor) -> list[int]:
        raise MemoryError("too many rows")

    def run(rows: list[int]) -> list[int]:
        alive.append(sum(tensor() is not None for tensor in held))
        tensor = Tensor()
        held.append(weakref.ref(tensor))
        if len(rows) <= 2 and 0 not in rows:
            return rows
        try:
            return compute(tensor)
        except MemoryError as error:
            if chained:
                raise RuntimeError("a batch failed") from error
            raise

    errors: list[Exception] = []
    found = run_isolating(run, [0, 1, 2, 3, 4], lambda error: errors.append(error) or -1, ())
    assert found == [-1, 1, 2, 3, 4]
    assert len(alive) > 4 and set(alive) == {0}
    assert errors[0].__traceback__ is not None, "the log still shows where a row failed"
    assert all(tensor() is None for tensor in held)


def test_a_fatal_error_is_raised_at_once() -> None:
    calls = []

    def run(rows: list[int]) -> list[str]:
        calls.append(rows)
        raise ConnectionError("the device is gone")

    with pytest.raises(EngineDead, match="ConnectionError: the device is gone"):
        run_isolating(run, [1, 2, 3], str, (ConnectionError,))
    assert calls == [[1, 2, 3]]


class Engine:
    """Fails on some rows, and may be broken altogether from some call on."""

    def __init__(
        self, poison: set[int], broken_after: int = 10**9, message: str = "out of memory, {} bytes wanted"
    ) -> None:
        self.poison, self.broken_after, self.message, self.calls, self.halved = poison, broken_after, message, 0, 0

    def ask(self, rows: list[int]) -> list[str]:
        self.calls += 1
        if self.calls > self.broken_after or self.poison & set(rows):
            raise MemoryError(self.message.format(self.calls))
        return [f"ok {row}" for row in rows]

    def count(self) -> None:
        self.halved += 1

    def run(self, batches: list[list[int]]) -> dict[int, str]:
        answers = run_batches(
            self.ask, batches, lambda error: type(error).__name__, (), lambda: self.ask([-1]), self.count
        )
        return {row: answer for rows, some in answers for row, answer in zip(rows, some)}


BATCHES = [[0, 1, 2], [3], list(range(4, 4 + MANY)), list(range(12, 12 + 2 * MANY))]


@given(st.sets(st.integers(0, 27)))
def test_rows_that_fail_are_failed_unless_a_whole_large_batch_does(poison: set[int]) -> None:
    engine = Engine(poison)
    if any(poison >= set(batch) for batch in BATCHES if len(batch) >= MANY):
        with pytest.raises(EveryRowFailed, match="no row is to blame: MemoryError: out of memory"):
            engine.run(BATCHES)
    else:
        assert engine.run(BATCHES) == {row: "MemoryError" if row in poison else f"ok {row}" for row in range(28)}
        assert (engine.halved > 0) == any(len(batch) > 1 and poison & set(batch) for batch in BATCHES)


@pytest.mark.parametrize("batches", [[[0]], [[0], [1]], [[0, 1, 2]], BATCHES])
@pytest.mark.parametrize("broken_after", [0, 1])
def test_an_engine_that_breaks_is_to_blame_however_few_rows_it_had(batches: list[list[int]], broken_after: int) -> None:
    engine = Engine(set(), broken_after)
    if len(batches) <= broken_after:
        assert engine.run(batches)[0] == "ok 0"
    else:
        with pytest.raises(EveryRowFailed):
            engine.run(batches)


def test_all_rows_of_a_shard_that_fail_alike_are_not_to_blame_though_each_was_a_batch() -> None:
    with pytest.raises(EveryRowFailed):
        Engine(set(range(MANY))).run([[row] for row in range(MANY)])
    few = Engine(set(range(MANY - 1))).run([[row] for row in range(MANY - 1)])
    assert set(few.values()) == {"MemoryError"}
    assert Engine(set(range(9))).run([[row] for row in range(10)])[9] == "ok 9"


def test_rows_that_fail_for_reasons_of_their_own_are_to_blame() -> None:
    class Odd(Engine):
        def ask(self, rows: list[int]) -> list[str]:
            if rows != [-1]:
                raise ValueError(f"no {chr(97 + rows[0])}")
            return ["ok"]

    assert set(Odd(set()).run([list(range(10))]).values()) == {"ValueError"}
