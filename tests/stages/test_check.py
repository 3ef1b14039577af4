"""Checks in the merge: statuses, quarantine, columns and counts, and lengths that are judged by the whole run."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config.checks import ChecksConfig, LanguageCheck, LeakCheck, LengthCheck
from routelmt_ray.job.translation import with_limits
from routelmt_ray.reports import collect_checks
from routelmt_ray.runtime.context import to_item
from routelmt_ray.stages.lengths import TallyLengths, read_limits
from routelmt_ray.storage.rundir import RunDir
from tests.stages.scored import commit_translations
from tests.stages.test_merge import Merged

FLAG = ChecksConfig(action="flag", language=LanguageCheck(action="off"))
LEAK, LOOP = "Quelle<|im_end|>", " ".join(["Quelle"] * 20)


def translated(folder: Path, checks: CheckPlan, **plan: Any) -> Merged:
    """Small and large translations of which some leak and some loop."""
    merged = Merged(folder, checks=checks, **plan)
    texts = {row: f"Quelle {row}" for row in [*merged.routed, *merged.kept]}
    for row in [*merged.routed[:3], *merged.kept[:5]]:
        texts[row] = LEAK
    for row in [*merged.routed[3:5], *merged.kept[5:9]]:
        texts[row] = LOOP
    commit_translations(merged.corpus, "large/000", {row: texts[row] for row in merged.routed})
    commit_translations(merged.corpus, "small/000", {row: texts[row] for row in merged.kept})
    return merged


def counted(merged: Merged, name: str) -> dict[str, list[int]]:
    """Failed and judged rows by model."""
    sums: dict[str, list[int]] = {}
    for meta in merged.metas:
        for model, pairs in meta["checks"].get(name, {}).items():
            for failed, judged in pairs.values():
                total = sums.setdefault(model, [0, 0])
                total[0] += failed
                total[1] += judged
    return sums


def test_a_flagged_row_keeps_its_translation(tmp_path: Path) -> None:
    merged = translated(tmp_path, CheckPlan(FLAG)).merge()
    found = {LEAK: "leaked_markup", LOOP: "repetition"}
    for row in [*merged.routed, *merged.kept]:
        text, status = merged.rows[row]["translation"], merged.rows[row]["status"]
        assert status == found.get(text, "ok")
        assert bool(merged.rows[row]["error"]) is (text in found)
    assert merged.summed("statuses")["leaked_markup"] == 8 and merged.summed("statuses")["repetition"] == 6
    assert {row["status"] for row in merged.lost} == {"too_long"}
    assert counted(merged, "leak") == {"large": [3, len(merged.routed)], "small": [5, len(merged.kept)]}
    assert counted(merged, "length") == {}, "without limits nothing is judged"
    assert "check_leak" not in merged.table.column_names
    assert sum(meta["quarantined"] for meta in merged.metas) == len(merged.lost)


def test_a_row_in_quarantine_has_its_translation_only_there(tmp_path: Path) -> None:
    config = ChecksConfig(action="flag", leak=LeakCheck(action="quarantine"), language=LanguageCheck(action="off"))
    merged = translated(tmp_path, CheckPlan(config)).merge()
    leaked = [row for row in merged.rows if row["status"] == "leaked_markup"]
    assert len(leaked) == 8
    assert {(row["translation"], row["model"]) for row in leaked} == {(None, None)}
    lost = [row for row in merged.lost if row["status"] == "leaked_markup"]
    assert [row["source"] for row in lost] == [row["source"] for row in leaked]
    assert {row["translation"] for row in lost} == {LEAK} and {row["model"] for row in lost} == {"small", "large"}
    assert [row["translation"] for row in merged.rows if row["status"] == "repetition"] == [LOOP] * 6
    assert sum(meta["quarantined"] for meta in merged.metas) == len(merged.lost)
    assert sum(of.get("translated_None", 0) for meta in merged.metas for of in meta["pairs"].values()) == len(
        merged.lost
    )
    assert counted(merged, "leak") == {"large": [3, len(merged.routed)], "small": [5, len(merged.kept)]}


def test_measures_are_columns_where_they_are_asked_for(tmp_path: Path) -> None:
    config = ChecksConfig(columns=True, action="flag", language=LanguageCheck(action="off"))
    merged = translated(tmp_path, CheckPlan(config)).merge()
    names = [name for name in merged.table.column_names if name.startswith("check_")]
    assert names == ["check_leak", "check_copy", "check_repetition", "check_length"]
    for row in merged.rows:
        assert row["check_leak"] == (None if row["status"] == "too_long" else float(row["translation"] == LEAK))
        assert row["check_length"] is None and row["check_copy"] is None, "two words are too few"


def test_without_checks_nothing_is_added(tmp_path: Path) -> None:
    merged = translated(tmp_path, CheckPlan()).merge()
    assert {row["status"] for row in merged.rows} == {"ok", "too_long"}
    assert {str(meta["checks"]) for meta in merged.metas} == {"{}"}


def tally(merged: Merged, run: RunDir, shards: list[int]) -> None:
    for number in shards:
        item = pa.Table.from_pylist([to_item(merged.corpus.plan[number])])
        done = TallyLengths(merged.corpus.context, merged.plan.columns)(item).to_pylist()
        assert done == [{"shard": number, "rows": merged.corpus.plan[number].rows}]


@pytest.mark.parametrize("seed", range(3))
def test_lengths_are_judged_by_the_whole_run_in_whatever_order_it_was_made(tmp_path: Path, seed: int) -> None:
    checks = CheckPlan(ChecksConfig(length=LengthCheck(action="flag", min_rows=10)))
    merged = translated(tmp_path, checks)
    run, shards = merged.corpus.context.run, list(range(len(merged.corpus.plan)))
    random.Random(seed).shuffle(shards)
    tally(merged, run, shards[:2])
    partly = read_limits(run, 10)
    tally(merged, run, shards[1:])  # as a start after a kill, which does one shard again
    merged.plan = with_limits(merged.plan, run)
    assert set(merged.plan.checks.lengths) == {"en→de", "en→fr"} and partly != merged.plan.checks.lengths
    merged.merge()
    by_text = {(row["translation"], row["status"]) for row in merged.rows if row["translation"] in (LEAK, LOOP)}
    assert by_text == {(LEAK, "bad_length"), (LOOP, "bad_length")}
    assert merged.summed("statuses")["bad_length"] == 14
    assert read_limits(run, 1000) == {}


def test_the_report_shows_rates_by_model_and_pair_and_five_examples(tmp_path: Path) -> None:
    config = ChecksConfig(action="flag", leak=LeakCheck(action="quarantine"), language=LanguageCheck(action="off"))
    merged = translated(tmp_path, CheckPlan(config)).merge()
    context = merged.corpus.context
    facts = collect_checks.check_facts(context, merged.plan.checks, context.run.metas("output"))
    assert [fact["name"] for fact in facts] == ["leak", "copy", "repetition", "length"]
    leak = facts[0]
    assert leak["models"] == {
        "large": {"failed": 3, "judged": len(merged.routed)},
        "small": {"failed": 5, "judged": len(merged.kept)},
    }
    assert sum(pair["failed"] for pair in leak["pairs"]) == 8
    rates = [pair["failed"] / pair["judged"] for pair in leak["pairs"]]
    assert rates == sorted(rates, reverse=True)
    assert len(leak["examples"]) == collect_checks.MOST_EXAMPLES
    assert {example["translation"] for example in leak["examples"]} == {LEAK}
    assert all(example["source"].startswith("source ") for example in leak["examples"])
    assert all(example["pair"] in ("en→de", "en→fr") and example["model"] for example in leak["examples"])
    loops = facts[2]["examples"]
    assert {example["translation"] for example in loops} == {LOOP} and len({e["source"] for e in loops}) == 5
    assert facts[3]["models"] == {} and facts[3]["examples"] == []
