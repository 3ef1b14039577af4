"""Repeats of a whole corpus by brute force: what is scored, what each repeat gets, and what a damaged step does."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routelmt_ray import storage
from routelmt_ray.budget import Search
from routelmt_ray.budget.rule import Decision, Rule
from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config.common import ColumnsConfig, InputConfig, ModelConfig, ModelsConfig
from routelmt_ray.config.translate import RouterConfig
from routelmt_ray.corpus import repeats as cut
from routelmt_ray.corpus.languages import pair_label
from routelmt_ray.corpus.repeats import Keys, Sections, keys_of
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.engines.prompts import PromptFamily, load_family
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.runtime.context import RunContext, to_item
from routelmt_ray.stages import repeats, score, shared
from routelmt_ray.stages.chosen import MergePlan
from routelmt_ray.stages.merge import Merge
from routelmt_ray.stages.validate import renderer
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import DEMO
from tests.stages.scored import commit_translations, decided

Row = tuple[str | None, str | None]
"""Source and target language."""
WORDS = st.sampled_from(["a", "b", "bb", "a\0", "c", "", " ", None])
LANGS = st.sampled_from(["de", "deu_Latn", "fr", "en", "", None])
CORPORA = st.one_of(
    st.lists(st.tuples(WORDS, LANGS), max_size=40),
    st.integers(1, 30).map(lambda n: [("same", "de")] * n),
    st.integers(1, 30).map(lambda n: [(f"text {i}", "de") for i in range(n)]),
)


class Corpus:
    """A corpus in some files, and the steps that find its repeats, without Ray."""

    def __init__(self, folder: Path, rows: Sequence[Row], files: int, shard_rows: int, section_rows: int) -> None:
        self.rows, self.folder = list(rows), folder
        paths, counts = [], []
        for number, part in enumerate(np.array_split(np.arange(len(rows)), files)):
            path = folder / f"{number}.parquet"
            columns: dict[str, Any] = {
                "source": pa.array([rows[i][0] for i in part], pa.string()),
                "target": pa.array([rows[i][1] for i in part], pa.string()),
                "mine": pa.array([float(i % 7) for i in part], pa.float64()),
            }
            pq.write_table(pa.table(columns), path)
            paths.append(str(path))
            counts.append(len(part))
        self.plan = ShardPlan(paths, counts, shard_rows)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cut, "SECTION_ROWS", section_rows)
            self.sections = Sections.of(self.plan)
        asked = InputConfig(
            path=str(folder), columns=ColumnsConfig(source="source", target_lang="target"), source_lang="en",
            shard_rows=shard_rows, duplicates="once",
        )  # fmt: skip
        echo = ModelConfig(engine="echo")
        models = ModelsConfig(small=echo, large=echo)
        self.context = RunContext(RunDir(folder / "run"), pq.read_schema(paths[0]), asked, models, "", 3)

    def carry_out(self, steps: dict[str, Callable[[pa.Table], pa.Table]], order: int = 1) -> None:
        for stage, step in steps.items():
            committed = self.context.run.committed(stage)
            for number in [n for n in range(self.sections.count) if n not in committed][::order]:
                step(pa.Table.from_pylist([to_item(self.sections.section(self.plan, number))]))

    def find(self, order: int = 1) -> "Corpus":
        self.carry_out(repeats.steps(self.context, self.sections), order)
        return self

    def shards(self) -> list[Any]:
        return [self.plan[i] for i in range(len(self.plan))]

    def score(self) -> "Corpus":
        reading = score.ReadAndScore(self.context, RouterConfig(kind="column", column="mine"), self.sections)
        for shard in self.shards():
            score.CommitScores(self.context)(reading(pa.Table.from_pylist([to_item(shard)])))
        return self

    def merge(self, routed: int) -> list[dict[str, Any]]:
        """Routes the best segments, translates, shares and merges; returns the output."""
        scored = ScoredCorpus(self.context, self.plan)
        rule = Rule(once=True, gain_counts=True)
        rule = rule.then(Decision(scored.find_cut(rule, Search(k=routed, seed=3), (1.0, 1.0))))
        routes = decided(scored, rule)
        commit_translations(scored, "large/000", {int(i): f"L{i}" for i in np.flatnonzero(routes.routed)})
        commit_translations(
            scored, "small/000", {int(i): f"S{i}" if i % 5 else None for i in np.flatnonzero(routes.small)}
        )
        plan = MergePlan(rule, ("small/000",), ("large/000",), None, (), None, (-1.0, 3.0, 9.0), sections=self.sections)
        self.carry_out(shared.steps(self.context, self.sections, shared.chosen(plan)))
        for shard in self.shards():
            Merge(self.context, plan)(pa.Table.from_pylist([to_item(shard)]))
        run = self.context.run
        return [
            row
            for i in sorted(run.committed("output"))
            for row in pq.read_table(run.shard_path("output", i)).to_pylist()
        ]


def first_by_brute_force(rows: Sequence[Row]) -> list[int | None]:
    """Number of the first row with the same segment; None where the row has no segment to translate."""
    seen: dict[Any, int] = {}
    found: list[int | None] = []
    for number, (text, lang) in enumerate(rows):
        text = text and text.replace("\0", "")
        usable = bool(text and text.strip()) and lang in ("de", "deu_Latn", "fr")
        found.append(seen.setdefault((text, (lang or "")[:2]), number) if usable else None)
    return found


SIZES = (st.integers(1, 4), st.integers(1, 9), st.integers(1, 20))
MOST_PARTS = 6
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def few_parts(rows: Sequence[Row], files: int, *sizes: int) -> tuple[int, ...]:
    """Makes shards and sections larger where there were many: each section has a file for each shard."""
    return files, *(max(size, len(rows) // MOST_PARTS) for size in sizes)


@QUICK
@given(CORPORA.filter(bool), *SIZES)
def test_each_row_knows_its_first_and_each_first_its_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], files: int, shard_rows: int, section_rows: int
) -> None:
    corpus = Corpus(tmp_path_factory.mktemp("corpus"), rows, *few_parts(rows, files, shard_rows, section_rows)).find()
    first = first_by_brute_force(rows)
    occurrences = [first.count(i) if at == i else 1 if at is None else 0 for i, at in enumerate(first)]
    wanted = set()
    for shard in corpus.shards():
        found = repeats.read_repeats(corpus.context.run, corpus.sections, shard)
        places = range(shard.first_place, shard.first_place + shard.rows)
        assert found.first.tolist() == [i if first[i] is None else first[i] for i in places]
        assert found.occurrences.tolist() == [occurrences[i] for i in places]
        assert [i + shard.first_place for i in found.rows] == [i for i in places if first[i] not in (None, i)]
        asked = [(int(row) + shard.first_place, int(section)) for row, section in zip(*found.wanted)]
        assert asked == sorted(set(asked))
        wanted |= set(asked)
    in_section = corpus.sections.of_places(np.arange(len(rows)))
    assert wanted == {(at, in_section[i]) for i, at in enumerate(first) if at not in (None, i)}
    counts = sorted(((n, i) for i, n in enumerate(occurrences) if n > 1), key=lambda each: (-each[0], each[1]))
    assert repeats.count_repeats(corpus.context.run) == {
        "rows": sum(at is not None for at in first), "segments": len(set(first) - {None}), "repeated": len(counts),
        "frequent": [list(each) for each in counts[:10]],
    }  # fmt: skip


@QUICK
@given(CORPORA.filter(bool), *SIZES, st.integers(0, 6))
def test_a_repeat_gets_all_that_its_first_row_got(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], files: int, shard_rows: int, section_rows: int, k: int
) -> None:
    corpus = (
        Corpus(tmp_path_factory.mktemp("corpus"), rows, *few_parts(rows, files, shard_rows, section_rows))
        .find()
        .score()
    )
    first, output = first_by_brute_force(rows), corpus.merge(k)
    assert [(row["source"], row["target"]) for row in output] == rows
    segments = [i for i, at in enumerate(first) if at == i]
    metas = corpus.context.run.metas(score.STAGE).values()
    assert sum(meta["eligible"] for meta in metas) == len(segments)
    assert sum(meta["eligible_rows"] for meta in metas) == sum(at is not None for at in first)
    # Value counts all rows, cost is that of one: the best k segments by gain times occurrences.
    value = {i: np.float32(i % 7) * first.count(i) for i in segments}
    routed = {i for i in segments if output[i]["route"] == "large"}
    assert len(routed) == min(k, len(segments))
    assert all(value[i] >= value[j] for i in routed for j in set(segments) - routed)
    for i, (at, row) in enumerate(zip(first, output)):
        assert row["duplicate_of"] == (None if at in (None, i) else at)
        if at is None:
            assert row["status"] not in ("ok", "repeat") and row["route"] is None and row["predicted_gain"] is None
        else:
            same = ("translation", "model", "route", "route_reason", "status", "error", "predicted_gain")
            assert [row[name] for name in same] == [output[at][name] for name in same]
            lost = at not in routed and at % 5 == 0
            assert row["translation"] == (f"L{at}" if at in routed else None if lost else f"S{at}")
            assert row["status"] == ("engine_error" if lost else "ok") and row["predicted_gain"] == at % 7
    metas = corpus.context.run.metas("output").values()
    assert sum(meta["routed"] for meta in metas) == len(routed)


@settings(QUICK, max_examples=15)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20), *SIZES, st.integers(0, 4))
def test_texts_with_one_hash_but_other_lengths_are_not_joined(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], files: int, shard_rows: int, section_rows: int, k: int
) -> None:
    def truncated(texts: Sequence[str], pairs: Sequence[str]) -> Keys:
        none = np.zeros(len(texts), np.uint64)
        return Keys(none, none, keys_of(texts, pairs).size)

    rows: list[Row] = [("x" * n, "de") for n in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "keys_of", truncated)
        corpus = (
            Corpus(tmp_path_factory.mktemp("corpus"), rows, *few_parts(rows, files, shard_rows, section_rows))
            .find()
            .score()
        )
    first, output = first_by_brute_force(rows), corpus.merge(k)
    for i, (at, row) in enumerate(zip(first, output)):
        assert row["duplicate_of"] == (None if at == i else at)
        assert row["translation"] == output[at or 0]["translation"] in (f"L{at}", f"S{at}", None)


DEMO_SMALL = ModelConfig(path=str(DEMO / "models" / "small"), prompt="demo", max_input_tokens=40)


@pytest.mark.parametrize("too_long", ["split", "quarantine"])
def test_long_texts_repeat_as_a_whole_and_a_piece_of_one_is_no_repeat(tmp_path: Path, too_long: str) -> None:
    long, first = "The dog sleeps. " * 30, [0, 0, 2, 3, 0, 3]
    texts = [long, long, f"{long}The cat sleeps.", "The dog sleeps.", long, "The dog sleeps."]
    corpus = Corpus(tmp_path, [(text, "de") for text in texts], 2, 2, 3)
    assert corpus.sections.count > 1
    corpus.context = replace(
        corpus.context, models=replace(corpus.context.models, small=DEMO_SMALL),
        input=replace(corpus.context.input, too_long=too_long),
    )  # fmt: skip
    output = corpus.find().score().merge(1)
    run = corpus.context.run
    scores = pa.concat_tables(storage.read_table(run.shard_path(score.STAGE, i)) for i in range(len(corpus.plan)))
    assert scores["occurrences"].to_pylist() == [3, 0, 1, 2, 0, 0]
    fits = too_long == "split"
    assert (scores["source_tokens"].to_numpy() > 0).tolist() == [fits, False, fits, True, False, False]
    assert [row["duplicate_of"] for row in output] == [None if at == i else at for i, at in enumerate(first)]
    for at, row in zip(first, output):
        lost = too_long == "quarantine" and at != 3
        assert row["status"] == ("too_long" if lost else "ok" if row["translation"] else "engine_error")
        assert row["translation"] == output[at]["translation"] and (row["route"] is None) == lost
    quarantined = {name: meta["rows"] for name, meta in run.metas("quarantine").items()}
    assert sum(quarantined.values()) == sum(row["status"] != "ok" for row in output)


CODES = st.sampled_from(
    "en EN eng_Latn en-US en-GB zh zh_CN zh-Hant zh_TW cmn no nb pt pt-BR sr sr-Latn mn mn-Mong iw he".split()
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["A dog.", "A dog. ", "A 狗"]), CODES, CODES), max_size=12))
def test_rows_with_one_key_have_one_prompt_for_every_model(rows: list[tuple[str, str, str]]) -> None:
    own = PromptFamily(
        "own", "{src}>{tgt}: {text}", False, {"zh-Hant": "Taiwanese", "en-GB": "British"}, {}, "{terms} {text}"
    )
    families = [own, *map(load_family, ("demo", "lmt60", "plain"))]
    glossary = Glossary({"": {"dog": "Hund", "狗": "perro"}})
    keys = keys_of([text for text, _, _ in rows], [pair_label(*pair) for _, *pair in rows])
    prompts: dict[tuple[int, ...], set[tuple[str, ...]]] = {}
    for key, (text, *pair) in zip(zip(*(part.tolist() for part in keys)), rows):
        asked = tuple(renderer(family, (pair[0], pair[1]), glossary)(text) for family in families)
        prompts.setdefault(key, set()).add(asked)
    assert all(len(asked) == 1 for asked in prompts.values())


def test_steps_that_were_cut_off_go_on_where_they_ended(tmp_path: Path) -> None:
    """Files of any step may be missing when a start begins, and steps run in any order of sections."""
    rows: list[Row] = [(f"text {i % 11}", "de" if i % 3 else "fr") for i in range(60)]
    whole = Corpus(_new(tmp_path / "whole"), rows, 3, 4, 9).find().score()
    expected, content = whole.merge(5), _content(whole)
    for stage in (repeats.KEYS, repeats.GROUPS, repeats.STAGE, shared.ANSWERS, shared.STAGE):
        for number in (0, whole.sections.count - 1):
            storage.remove(whole.context.run.shard_path(stage, number))
        for number in range(len(whole.plan)):
            for name in ("small/000", "large/000", "output"):
                storage.remove(whole.context.run.shard_path(name, number))
        assert whole.find(order=-1).merge(5) == expected
        assert _content(whole) == content


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _content(corpus: Corpus) -> dict[str, list[dict[str, Any]]]:
    run = corpus.context.run
    return {
        f"{stage}/{number}": pq.read_table(run.shard_path(stage, number)).to_pylist()
        for stage in (repeats.KEYS, repeats.GROUPS, repeats.STAGE, shared.ANSWERS, shared.STAGE)
        for number in run.committed(stage)
    }


def test_a_corpus_of_equal_rows_sends_one_row_a_section(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, [("same", "de")] * 500, 1, 10, 20).find()
    assert corpus.sections.count == 25
    sent = [pq.ParquetFile(corpus.context.run.shard_path(repeats.KEYS, number)).metadata for number in range(25)]
    assert [sum(file.row_group(group).num_rows for group in range(25)) for file in sent] == [1] * 25
    groups = [pq.read_metadata(corpus.context.run.shard_path(repeats.GROUPS, number)).num_rows for number in range(25)]
    assert sorted(groups) == [0] * 24 + [24 + 25]
