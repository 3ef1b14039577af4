"""Nights of a growing corpus with a memory, by brute force: what is found, routed, translated and added."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt_ray import storage
from routelmt_ray.budget import Search
from routelmt_ray.budget.rule import Decision, Rule
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.corpus.memory import open_memory
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.runtime.context import to_item
from routelmt_ray.stages import memory, score, shared
from routelmt_ray.stages.chosen import MergePlan
from routelmt_ray.stages.merge import Merge
from tests.stages.scored import COST, commit_translations, decided, of_all, scored_corpus
from tests.stages.test_repeats import CORPORA, QUICK, SIZES, Corpus, Row, few_parts, first_by_brute_force

SMALL_MEMORY, LARGE_MEMORY = memory.stage_of("small"), memory.stage_of("large")


class Night(Corpus):
    """One run over a corpus with a memory, without Ray."""

    def __init__(self, folder: Path, rows: Sequence[Row], *sizes: int, path: Path, mark: str) -> None:
        folder.mkdir()
        super().__init__(folder, rows, *sizes)
        self.memories = {size: open_memory(str(path), {"model": size}) for size in ("small", "large")}
        self.mark = mark

    def score(self) -> "Night":
        self.find()
        self.carry_out(memory.lookups(self.context, self.sections, self.memories))
        reading = score.ReadAndScore(self.context, RouterConfig(kind="column", column="mine"), self.sections, True)
        for shard in self.shards():
            score.CommitScores(self.context, True)(reading(pa.Table.from_pylist([to_item(shard)])))
        return self

    def translate(self, k: int) -> list[dict[str, Any]]:
        """Routes k segments that the memory has no large translation of, and translates what it does not have; returns the output."""
        scored, run = ScoredCorpus(self.context, self.plan), self.context.run
        rule = Rule(once=True, gain_counts=True, remembered=LARGE_MEMORY)
        rule = rule.then(Decision(scored.find_cut(rule, Search(k=k, seed=3), (1.0, 1.0))))
        routes, self.tally = decided(scored, rule), scored.tally(rule)
        self.new: dict[str, set[int]] = {}
        for size, mask in (("large", routes.routed), ("small", routes.small)):
            known = [memory.remembered_rows(run, memory.stage_of(size), s) + s.first_place for s in self.shards()]
            self.new[size] = {int(i) for i in np.setdiff1d(np.flatnonzero(mask), np.concatenate(known))}
            texts = {i: f"{size} {self.mark}" if i % 5 or size == "large" else None for i in self.new[size]}
            commit_translations(scored, f"{size}/000", texts)
        stages = [(memory.stage_of(size), f"{size}/000") for size in ("small", "large")]
        plan = MergePlan(rule, *stages, None, (), None, (-1.0, 3.0, 9.0), sections=self.sections)
        self.carry_out(shared.steps(self.context, self.sections, shared.chosen(plan)))
        for shard in self.shards():
            Merge(self.context, plan)(pa.Table.from_pylist([to_item(shard)]))
        self.carry_out(memory.additions(self.context, self.sections, self.memories, 0))
        return [
            row
            for i in sorted(run.committed("output"))
            for row in pq.read_table(run.shard_path("output", i)).to_pylist()
        ]


def key(row: Row) -> tuple[str, str]:
    return str(row[0]).replace("\0", ""), str(row[1])[:2]


@settings(QUICK, max_examples=10)
@given(st.lists(st.tuples(CORPORA.filter(bool), st.integers(0, 4)), min_size=1, max_size=3), *SIZES)
def test_nights_by_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    nights: list[tuple[list[Row], int]],
    files: int,
    shard_rows: int,
    section_rows: int,
) -> None:
    folder, known = tmp_path_factory.mktemp("nights"), {"small": dict[Any, str](), "large": dict[Any, str]()}
    rows: list[Row] = []
    for number, (more, k) in enumerate(nights):
        rows, mark = [*rows, *more], f"of night {number}"
        night = Night(
            folder / str(number),
            rows,
            *few_parts(rows, files, shard_rows, section_rows),
            path=folder / "memory",
            mark=mark,
        ).score()
        first, output = first_by_brute_force(rows), night.translate(k)
        segments = {i: key(rows[i]) for i, at in enumerate(first) if at == i}
        free = {i for i, segment in segments.items() if segment in known["large"]}
        value = {i: np.float32(i % 7) * first.count(i) for i in segments}
        routed = {i for i in segments if output[i]["route"] == "large"} - free
        # The best k of those that the memory has no large translation of; free ones are routed beside them.
        others = segments.keys() - free - routed
        assert len(routed) == min(k, len(segments) - len(free)) == night.tally.routed
        assert all(value[i] >= value[j] for i in routed for j in others)
        assert night.new == {"large": routed, "small": {i for i in others if segments[i] not in known["small"]}}
        metas = night.context.run.metas(score.STAGE).values()
        assert sum(meta["eligible"] for meta in metas) == len(routed) + len(others)
        assert sum(meta["new"] for meta in metas) == sum(segments[i] not in known["small"] for i in routed | others)
        for at, row in zip(first, output):
            if at is None:
                assert row["from_memory"] is False and row["model"] is None
                continue
            size = "large" if at in free | routed else "small"
            text = known[size].get(segments[at])
            fails = at in night.new["small"] and at % 5 == 0
            assert row["from_memory"] == (text is not None and (size, at in routed) != ("large", True))
            assert row["translation"] == (None if fails else text or f"{size} {mark}")
            assert row["model"] == (None if fails else size) and row["route"] == size
            assert (row["route_reason"] == "memory") == (at in free) == (row["predicted_gain"] is None)
        metas = night.context.run.metas("output").values()
        assert sum(meta["routed"] for meta in metas) == len(routed)
        assert sum(meta["from_memory"][0] for meta in metas) == sum(row["from_memory"] for row in output)
        # Only what is ok is added, once, and what a run before has is never replaced.
        added = {(size, segments[i]) for size, places in night.new.items() for i in places if size == "large" or i % 5}
        assert sum(m["entries"] for m in night.context.run.metas(memory.added_stage(0)).values()) == len(added)
        for size, segment in added:
            known[size][segment] = f"{size} {mark}"


def test_steps_that_were_cut_off_go_on_and_add_nothing_twice(tmp_path: Path) -> None:
    """Found translations are fixed: files of any step may be missing when a start begins, and the memory may have grown."""
    rows: list[Row] = [(f"text {i % 11}", "de" if i % 3 else "fr") for i in range(60)]
    sizes, path = (3, 4, 9), tmp_path / "memory"
    Night(tmp_path / "old", rows[:20], *sizes, path=path, mark="old").score().translate(4)
    night = Night(tmp_path / "run", rows, *sizes, path=path, mark="new").score()
    expected = night.translate(3)
    parts = sorted(path.rglob("*.parquet"))
    made, added = memory.made_stage(0), memory.added_stage(0)
    # The memory has more by now. What is placed is made again from what was found; `FOUND` is last, as it finds more then.
    for stage in (memory.STAGE, SMALL_MEMORY, LARGE_MEMORY, made, added, memory.FOUND):
        for number in night.context.run.committed(stage):
            if stage in (SMALL_MEMORY, LARGE_MEMORY):
                night.context.run.clear(memory.STAGE)
            storage.remove(night.context.run.shard_path(stage, number))
        for number in range(len(night.plan)):
            for name in ("small/000", "large/000", "output", score.STAGE):
                storage.remove(night.context.run.shard_path(name, number))
        night.context.run.clear(shared.FOLDER)
        assert night.score().translate(3) == expected
        assert sorted(path.rglob("*.parquet")) == parts


def test_what_the_memory_has_costs_nothing_in_hours(tmp_path: Path) -> None:
    corpus, columns = scored_corpus(tmp_path)
    ok = np.flatnonzero(columns["status"] == "ok")
    large, small = ok[::5], ok[1::5]
    for stage, places in ((LARGE_MEMORY, large), (SMALL_MEMORY, small)):
        commit_translations(corpus, stage, dict.fromkeys(places.tolist(), "known"))
    rule = Rule(
        objective="gain_per_cost", cost=COST, remembered=LARGE_MEMORY, paid_small=(SMALL_MEMORY,), paid_large=(LARGE_MEMORY,)
    )  # fmt: skip
    rule = rule.then(Decision(corpus.find_cut(rule, Search(capacity=0, seed=3)), None))
    routes, tally = decided(corpus, rule), corpus.tally(rule)
    assert np.array_equal(np.flatnonzero(routes.routed), large) and tally.routed == 0 and tally.gain == 0
    own, _, paid, _ = tally.owed[0]
    new = np.setdiff1d(ok, np.concatenate([large, small]))
    assert paid == 0 and own == pytest.approx(of_all(corpus, Rule(cost=COST), lambda rows: rows.small_s)[new].sum())
