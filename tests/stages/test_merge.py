"""The merged output of a shard: which translation is in a row, why, and the sums the report is made of."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt_ray import storage
from routelmt_ray.budget import Search
from routelmt_ray.budget.rule import KEPT, Decision, Rule
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.checks.terms import Glossary
from routelmt_ray.config.checks import ChecksConfig, LeakCheck
from routelmt_ray.metrics.sentence import ChrF
from routelmt_ray.plan.allocate import ScoredCorpus
from routelmt_ray.reports.collect_checks import term_facts
from routelmt_ray.runtime.context import to_item
from routelmt_ray.stages import judge
from routelmt_ray.stages.chosen import MergePlan
from routelmt_ray.stages.merge import Merge, gain_edges, with_outer_blanks
from tests.budget.corpora import full_sort
from tests.stages.scored import ROWS, SEED, commit_translations, decided, scored_corpus

PLAN = MergePlan(Rule(), ("small/000", "small/000-fallback"), ("large/000",), None, (), None, (-1.0, 0.0, 1.0))


class Merged:
    """A corpus of which the 80 best rows are routed, its translations, and the output of all its shards."""

    def __init__(self, folder: Path, prefix: str = "", around: str = "{}", **plan: Any) -> None:
        corpus, self.columns = scored_corpus(folder, around)
        self.corpus = ScoredCorpus(replace(corpus.context, prefix=prefix), corpus.plan)
        self.order = full_sort(self.columns["predicted_gain"], SEED)
        rule = plan.pop("rule", Rule())
        self.rule = rule.then(Decision(self.corpus.find_cut(rule, Search(k=80, seed=SEED), (1.0, 1.0))))
        self.plan = replace(PLAN, rule=self.rule, **plan)
        routes = decided(self.corpus, self.rule)
        self.routed, self.kept = np.flatnonzero(routes.routed).tolist(), np.flatnonzero(routes.small).tolist()

    def merge(self) -> "Merged":
        run = self.corpus.context.run
        for shard in (self.corpus.plan[i] for i in range(len(self.corpus.plan))):
            done = Merge(self.corpus.context, self.plan)(pa.Table.from_pylist([to_item(shard)]))
            assert done.to_pylist() == [{"shard": shard.index, "rows": shard.rows}]
        self.table = pa.concat_tables(
            storage.read_table(run.shard_path("output", i)) for i in sorted(run.committed("output"))
        )
        self.rows = self.table.to_pylist()
        self.lost = [
            row for i in sorted(run.committed("quarantine"))
            for row in storage.read_table(run.shard_path("quarantine", i)).to_pylist()
        ]  # fmt: skip
        self.metas = [meta for _, meta in sorted(run.metas("output").items())]
        return self

    def summed(self, key: str) -> dict[str, Any]:
        return dict(sum((Counter(meta[key]) for meta in self.metas), Counter()))


@pytest.mark.parametrize(
    ("source", "translation", "wanted"),
    [
        ("a", "b", "b"),
        (" \n- a\n- a\t\n", "- b\n- b", " \n- b\n- b\t\n"),
        ("a\n", "  b ", "b\n"),
        ("\u3000a\u00a0", "b", "\u3000b\u00a0"),
        (" aba a ", "b", " b "),
        (" a", "", " "),
        (" \n", " b", " b"),
    ],
)
def test_a_translation_has_the_outer_blanks_of_its_source(source: str, translation: str, wanted: str) -> None:
    assert with_outer_blanks(source, translation) == wanted


def test_the_output_has_the_outer_blanks_of_the_sources(tmp_path: Path) -> None:
    merged = Merged(tmp_path, around=" \n{}\n\n")
    commit_translations(merged.corpus, "large/000", {row: f"L\n{row}" for row in merged.routed})
    commit_translations(merged.corpus, "small/000", dict.fromkeys(merged.kept))
    found = {row["translation"] for row in merged.merge().rows}
    assert found == {None} | {f" \nL\n{row}\n\n" for row in merged.routed}


def test_terms_are_counted_by_model_also_where_a_check_fails(tmp_path: Path) -> None:
    checks = CheckPlan(ChecksConfig(leak=LeakCheck(action="flag")))
    merged = Merged(tmp_path, glossary=Glossary({"": {"source": "Quelle", "river": "Fluss"}}), checks=checks)
    silent = merged.kept[:3]
    commit_translations(merged.corpus, "large/000", dict.fromkeys(merged.routed, "Quelle<|im_end|>"))
    commit_translations(merged.corpus, "small/000", {row: None if row in silent else "Fluss" for row in merged.kept})
    merged.merge()
    assert merged.summed("statuses")["leaked_markup"] == len(merged.routed)
    found = {(t["model"], t["pair"]): (t["kept"], t["terms"]) for t in term_facts(merged.metas)}
    assert {pair for _, pair in found} == {"en→de", "en→fr"}
    for size, rows, share in (("large", len(merged.routed), 1), ("small", len(merged.kept) - len(silent), 0)):
        counts = [count for (model, _), count in found.items() if model == size]
        assert (sum(kept for kept, _ in counts), sum(there for _, there in counts)) == (share * rows, rows)


def test_each_row_has_the_translation_of_the_model_it_was_given_to(tmp_path: Path) -> None:
    merged = Merged(tmp_path)
    routed, kept = merged.routed, merged.kept
    failed, hopeless, silent = routed[:6], routed[:2], kept[:3]
    commit_translations(merged.corpus, "large/000", {row: None if row in failed else f"L{row}" for row in routed})
    commit_translations(merged.corpus, "small/000", {row: None if row in silent else f"S{row}" for row in kept})
    commit_translations(
        merged.corpus, "small/000-fallback", {row: None if row in hopeless else f"F{row}" for row in failed}
    )
    merged.merge()
    assert [row["source"] for row in merged.rows] == merged.columns["source"].tolist()
    for place, row in enumerate(merged.rows):
        found = tuple(row[name] for name in ("translation", "model", "route", "route_reason", "status", "error"))
        scored = not np.isnan(merged.columns["predicted_gain"][place])
        why = "below_cut" if scored else "not_scored"
        if place in hopeless:
            assert found == (None, None, "large", "gain", "engine_error", "large: no answer; small: no answer")
        elif place in failed:
            assert found == (f"F{place}", "small", "large", "gain", "ok", "large: no answer")
        elif place in routed:
            assert found == (f"L{place}", "large", "large", "gain", "ok", None)
        elif place in silent:
            assert found == (None, None, "small", why, "engine_error", "no answer")
        elif place in kept:
            assert found == (f"S{place}", "small", "small", why, "ok", None)
        else:
            assert found[:5] == (None, None, None, None, "too_long") and found[5]
        assert row["predicted_gain"] == (pytest.approx(merged.columns["predicted_gain"][place]) if scored else None)
    bad = [row for row in merged.rows if row["status"] in ("too_long", "engine_error")]
    assert merged.lost == bad and len(bad) == 5 + (ROWS - len(routed) - len(kept))
    assert merged.summed("statuses") == Counter(row["status"] for row in merged.rows)
    assert merged.summed("reasons") == Counter(row["route_reason"] for row in merged.rows if row["route_reason"])
    assert sum(meta["routed"] for meta in merged.metas) == 80 and sum(meta["fallbacks"] for meta in merged.metas) == 4
    pairs = [meta["pairs"] for meta in merged.metas]
    assert sum(of[pair]["rows"] for of in pairs for pair in of) == ROWS
    assert sum(of[pair].get("routed_large", 0) for of in pairs for pair in of) == 80
    assert sum(of[pair].get("translated_large", 0) for of in pairs for pair in of) == 74
    gains = merged.columns["predicted_gain"]
    chosen = np.isin(np.arange(ROWS), routed)
    for name, mask in (("small", ~chosen), ("large", chosen)):
        counts = np.sum([meta["gain_histogram"][name] for meta in merged.metas], axis=0)
        assert counts.tolist() == [int((gains[mask] < 0).sum()), int((gains[mask] >= 0).sum())]
    chrf = ChrF().segment_scores(
        [None] * 74, [f"L{row}" for row in routed[6:]], [f"reference {row}" for row in routed[6:]]
    )
    large = [meta["quality"]["large"] for meta in merged.metas]
    assert sum(each["rows"] for each in large) == 74
    assert sum(each["chrf_sum"] for each in large) == pytest.approx(sum(chrf))


def test_rows_that_were_taken_back_and_not_reached_keep_their_small_translation(tmp_path: Path) -> None:
    merged = Merged(tmp_path)
    band = merged.corpus.find_cut(merged.rule, Search(k=10, seed=SEED), again=KEPT)
    rule = merged.rule.then(Decision(band, again=KEPT))
    merged.plan = replace(PLAN, rule=rule, large=("large/000", "large/001"))
    back = sorted(set(np.flatnonzero(decided(merged.corpus, rule).routed).tolist()) - set(merged.routed))
    commit_translations(merged.corpus, "large/000", {row: f"L{row}" for row in merged.routed})
    commit_translations(merged.corpus, "small/000", {row: f"S{row}" for row in merged.kept})
    commit_translations(merged.corpus, "large/001", {row: f"B{row}" for row in back[:4]})
    merged.merge()
    names = ("translation", "model", "route", "route_reason", "error")
    found = [tuple(merged.rows[row][name] for name in names) for row in back]
    reached = [(f"B{row}", "large", "large", "gain", None) for row in back[:4]]
    assert found == reached + [(f"S{row}", "small", "small", "below_cut", None) for row in back[4:]] and len(back) == 10
    assert sum(meta["routed"] for meta in merged.metas) == 84 and not any(meta["fallbacks"] for meta in merged.metas)


def test_the_judge_keeps_a_small_translation_that_is_better_by_more_than_the_margin(tmp_path: Path) -> None:
    merged = Merged(tmp_path, prefix="mt_", keep_better=0.25, judged=("judge/000-both",))
    routed = merged.routed
    commit_translations(merged.corpus, "large/000", {row: f"L{row}" for row in routed})
    commit_translations(merged.corpus, "small/000", {row: f"S{row}" for row in range(ROWS)})
    better, equal = routed[:5], routed[5:9]
    for shard in (merged.corpus.plan[i] for i in range(len(merged.corpus.plan))):
        mine = [row for row in routed[:40] if shard.first_place <= row < shard.first_place + shard.rows]
        small = [0.875 if row in better else 0.75 if row in equal else 0.25 for row in mine]
        table = pa.table({"place": mine, "small": small, "large": [0.5] * len(mine)}).cast(judge.COLUMNS)
        merged.corpus.context.run.commit("judge/000-both", shard.index, table, {})
    merged.merge()
    kept = [place for place, row in enumerate(merged.rows) if row["mt_route_reason"] == "kept_small"]
    assert kept == better
    assert [merged.rows[row]["mt_translation"] for row in routed] == [
        f"S{row}" if row in better else f"L{row}" for row in routed
    ]
    assert {merged.rows[row]["mt_model"] for row in better} == {"small"}
    assert sum(meta["fallbacks"] for meta in merged.metas) == 0


@pytest.mark.parametrize("metric", ["chrf", "judge"])
def test_an_audit_measures_the_gain_of_its_rows(tmp_path: Path, metric: str) -> None:
    audit = scored_corpus(tmp_path)[0].audit_cut(40)
    merged = Merged(tmp_path, rule=Rule(audit=audit), audit=metric, judged=("judge/000-audit",))
    everyone = [*merged.routed, *merged.kept]
    commit_translations(merged.corpus, "large/000", {row: f"reference {row}" for row in everyone})
    commit_translations(merged.corpus, "small/000", {row: f"S{row}" for row in everyone})
    for shard in (merged.corpus.plan[i] for i in range(len(merged.corpus.plan))):
        mine = np.arange(shard.first_place, shard.first_place + shard.rows)
        table = pa.table({"place": mine, "small": mine / 1000, "large": 0.5 + mine / 500}).cast(judge.COLUMNS)
        merged.corpus.context.run.commit("judge/000-audit", shard.index, table, {})
    merged.merge()
    drawn = [place for place in range(ROWS) if audit.mask(np.zeros(1, np.float32), place)[0]]
    drawn = [place for place in drawn if not np.isnan(merged.columns["predicted_gain"][place])]
    found = [tuple(each) for meta in merged.metas for each in meta["audit"]]
    assert len(found) == len(drawn) == 40
    for (predicted, realised, routed, pair), place in zip(found, drawn):
        small = ChrF().segment_scores([None], [f"S{place}"], [f"reference {place}"])[0]
        assert predicted == pytest.approx(merged.columns["predicted_gain"][place])
        assert realised == pytest.approx(1 - small if metric == "chrf" else 0.5 + place / 1000)
        assert routed == (place in merged.routed)
        assert pair == merged.columns["pair"][place]


def test_edges_of_the_histogram_are_even_over_the_bulk() -> None:
    metas = [
        {"min_gain": -3.0, "max_gain": 0.5, "bulk": [0.0, 0.29]},
        {"min_gain": 0.0, "max_gain": 9.0, "bulk": [0.0, 0.29]},
    ]
    edges = gain_edges(metas)
    assert (edges[0], edges[1], edges[-2], edges[-1], len(edges)) == (-3.0, 0.0, 0.29, 9.0, 61)
    np.testing.assert_allclose(np.diff(edges[1:-1]), 0.29 / 58)
    assert gain_edges([]) == ()
    assert gain_edges([{"min_gain": 0.25, "max_gain": 0.25, "bulk": [0.25, 0.25]}]) == (-0.25, 0.75)
