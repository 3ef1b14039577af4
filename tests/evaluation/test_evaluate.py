"""The evaluation from a labelled set to its report: what is refused, what is undefined, and what the page says."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.config.evaluate import EvaluateConfig
from routelmt_ray.config.loader import load
from routelmt_ray.corpus.splits import document_keys, split_of
from routelmt_ray.evaluation.analysis import gain_buckets, guard_table
from routelmt_ray.evaluation.assemble import evaluate, load_published, read_parts
from routelmt_ray.evaluation.axes import build_axes, measured_seconds
from routelmt_ray.evaluation.bootstrap import Settings
from routelmt_ray.evaluation.compare import Comparison
from routelmt_ray.evaluation.labelled import read_labelled
from routelmt_ray.evaluation.scorers import GAIN, ROUTER, Parts, Scored
from routelmt_ray.evaluation.suite import list_scorers, run_scorers
from routelmt_ray.reports.evaluation_tables import print_summary, write_tables
from routelmt_ray.reports.evaluation_words import shown
from routelmt_ray.reports.frontier_plots import drawn, frontier
from routelmt_ray.reports.pages import evaluation_page
from routelmt_ray.reports.templates import say
from tests.evaluation import reference_measures as measures

N = 240


def columns(n: int = N, seed: int = 0) -> dict[str, Any]:
    """A labelled set in which the column `mine` predicts the gain well."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(0.3, 0.9, n)
    gain = rng.normal(0.1, 0.15, n)
    return {
        "source": [f"sentence {i} " + "word " * int(k) for i, k in enumerate(rng.integers(1, 20, n))],
        "doc": [f"d{i // 3}" for i in range(n)],
        "topic": [("news", "law")[i % 2] for i in range(n)],
        "tgt": [("de", "zh")[i % 3 == 0] for i in range(n)],
        "quality_small_chrf": small,
        "quality_large_chrf": small + gain,
        "mine": gain + rng.normal(0, 0.1, n),
        "small_s": rng.uniform(0.01, 0.02, n),
        "large_s": rng.uniform(0.08, 0.1, n),
    }


def write(folder: Path, table: dict[str, Any], name: str = "a.parquet") -> Path:
    pq.write_table(pa.table(table), folder / name)
    return folder / name


def config(path: Path, *words: str) -> EvaluateConfig:
    fixed = ["out=unused", f"labels.path={path}", "rows=all", "labels.source_lang=en", "resamples=100"]
    return load(EvaluateConfig, [], [*fixed, *words])


def run(path: Path, *words: str) -> dict[str, Any]:
    chosen = config(path, *words)
    scorers, left_out = list_scorers(chosen)
    reading, parts, sizes = read_parts(chosen)
    scored, skipped, warnings = run_scorers(scorers, parts)
    return evaluate(chosen, reading, parts, sizes, scored, skipped + left_out, warnings)


NAMED = [
    "labels.columns.document=doc", "labels.columns.domain=topic", "labels.columns.target_lang=tgt",
    "scorers.columns.mine=gain",
]  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(write(tmp_path_factory.mktemp("set"), columns()), *NAMED, "published=true")


def test_the_figures_are_those_of_the_measures(result: dict[str, Any]):
    table = columns()
    gain = table["quality_large_chrf"] - table["quality_small_chrf"]
    mine = result["overall"]["column:mine"]
    score = table["mine"].astype(np.float32)
    assert mine["hit_rate@0.3"]["value"] == pytest.approx(measures.hit_rate(score, gain, 0.3))
    assert mine["mean_delta@0.1"]["value"] == pytest.approx(measures.mean_delta(score, gain, 0.1))
    assert mine["severe_loss@0.5"]["value"] == pytest.approx(measures.severe_loss(score, gain, 0.5, 0.05))
    assert mine["cpt@0.8"]["value"] == pytest.approx(measures.cpt(score, gain, 0.8))
    length = np.array([len(s) for s in table["source"]], float)
    assert mine["area_characters"]["value"] == pytest.approx(measures.normalized_area(score, gain, length))
    assert result["overall"]["gain_oracle"]["area_seconds"]["value"] == pytest.approx(1)
    assert result["overall"]["random"]["area_seconds"]["value"] == pytest.approx(0)
    for cells in result["overall"].values():
        for cell in cells.values():
            assert cell["low"] is None or cell["low"] - 1e-9 <= cell["high"]


def test_the_constant_is_in_every_table_and_picture_of_costs(
    result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    constant = result["overall"]["constant"]
    assert constant["area_calls"]["value"] == pytest.approx(0)
    for axis in ("characters", "seconds"):
        lines, others = drawn(result, axis)
        assert "constant" in lines and lines[0] == "column:mine" and not set(lines) & set(others)
        assert f"Constant gain {shown('area', constant[f'area_{axis}']['value'])}" in frontier(result, axis)
        # Length at its best is no worse than the cheapest rows first: the gain does not go by it.
        assert result["overall"]["length"][f"area_{axis}"]["value"] > constant[f"area_{axis}"]["value"] - 0.05
    assert constant["area_characters"]["value"] > 0.2
    assert "Constant gain" not in frontier(result, "calls")
    page = Page(evaluation_page(result))
    assert "(cheapest first" in page.text and "calibrated to gain: " in page.text
    print_summary(result)
    assert any(line.startswith("Constant gain ") for line in capsys.readouterr().out.splitlines())
    write_tables(tmp_path, result)
    assert "constant,Constant gain" in (tmp_path / "headline.csv").read_text()


def test_who_wins_is_said_first(result: dict[str, Any]):
    assert say("winner", result).startswith("Column mine routes best: with 30 % of the calls it wins ")
    assert "ahead of" in say("winner", result) and "not surely" not in say("winner", result)
    assert result["reference"] == "column:mine"
    assert result["paired"]["length"]["mean_delta@0.3"]["low"] > 0
    assert result["paired"]["gain_oracle"]["mean_delta@0.3"]["probability"] == 0


def test_groups_spend_their_own_budget(result: dict[str, Any]):
    table = columns()
    law = np.array([t == "law" for t in table["topic"]])
    gain = (table["quality_large_chrf"] - table["quality_small_chrf"])[law]
    cell = result["groups"]["domain"]["groups"]["law"]["scorers"]["column:mine"]["mean_delta@0.3"]
    assert cell["value"] == pytest.approx(measures.mean_delta(table["mine"].astype(np.float32)[law], gain, 0.3))
    assert set(result["groups"]["language pair"]["groups"]) == {"en→de", "en→zh"}


def test_everything_left_out_has_a_reason(result: dict[str, Any]):
    left = {s["name"]: s["reason"] for s in result["skipped"]}
    assert left["tokens"] == "the set has no column source_tokens"
    assert left["qe"] == "scorers.qe.path is empty" and left["entropy"] == "small.path is empty"
    assert not set(left) & set(result["overall"])


class Page(HTMLParser):
    """Collects what a page says and what it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.loads, self.tags = [], [], set()
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [
            v for k, v in attrs if k in ("src", "href", "action", "onload") and not (v or "").startswith("#")
        ]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_report_stands_alone(result: dict[str, Any], drawn_once: pytest.MonkeyPatch):
    drawn_once.undo()
    html = evaluation_page(result)
    page = Page(html)
    assert page.loads == [] and not page.tags & {"script", "img", "link", "iframe"}
    for words in ("Which router is best", "Published, secondary", "Budget in device seconds", "Losses and guards"):
        assert words in page.text
    assert html == evaluation_page(json.loads(json.dumps(result)))


def test_words_of_the_set_are_escaped(tmp_path: Path):
    bad = "<script>alert(1)</script>"
    table = columns() | {"topic": [bad, "news"] * (N // 2)}
    table[bad] = table.pop("mine")
    found = run(write(tmp_path, table), "labels.columns.domain=topic", f"title={bad}", "p=0.25")
    found["scorers"][0]["title"] = found["skipped"][0]["reason"] = bad
    found["warnings"].append(bad)
    html = evaluation_page(found)
    assert "<script" not in html and "&lt;script&gt;" in html


def test_files_beside_the_report(result: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_tables(tmp_path, result)
    with (tmp_path / "measures.csv").open() as file:
        rows = {(r["scorer"], r["measure"]): r for r in csv.DictReader(file)}
    mine = rows["column:mine", "pgr@0.3"]
    assert float(mine["value"]) == pytest.approx(result["overall"]["column:mine"]["pgr@0.3"]["value"])
    assert float(mine["low"]) <= float(mine["value"]) <= float(mine["high"])
    names = {"headline.csv", "measures.csv", "paired.csv", "groups.csv", "curves.csv"}
    assert {path.name for path in tmp_path.iterdir()} == names
    print_summary(result)
    assert "Column mine routes best" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change,words,message",
    [
        ({}, ["labels.metric=comet"], r"labels.metric is 'comet'; .* has gains by chrf"),
        ({"gain_bleu": [0.1] * N}, [], "has gains by bleu, chrf; choose one"),
        ({"quality_small_chrf": None}, [], "has neither gain_<metric> nor both"),
        ({"source": None}, [], "labels.columns.source is 'source'.* it has: doc"),
        ({}, ["labels.columns.domain=domian"], "labels.columns.domain is 'domian'"),
        ({"quality_large_chrf": [np.nan] * N}, [], "none of its 240 rows"),
        ({"quality_large_chrf": [55.0] * N}, [], "on the 0-1 scale"),
        ({"quality_large_chrf": ["a"] * N}, [], "must hold numbers"),
        ({}, ["reference=nobody"], "reference is 'nobody'; the scorers are"),
        ({}, ["p=0.001"], "routes none"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, change: dict[str, Any], words: list[str], message: str):
    table = {k: v for k, v in (columns() | change).items() if v is not None}
    with pytest.raises(ValueError, match=message):
        run(write(tmp_path, table), *words)


def test_an_evaluation_without_rows_or_files_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"labels\.path.*no such file"):
        run(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="none of its 0 rows"):
        run(write(tmp_path, {k: v[:0] for k, v in columns().items()}))


def test_dropped_rows_are_counted(tmp_path: Path):
    table = columns()
    table["source"][3] = " "
    table["quality_small_chrf"][[5, 6]] = np.nan
    found = run(write(tmp_path, table))
    assert found["input"]["dropped"] == {"the source is empty": 1, "gain_chrf was not measured": 2}
    assert found["input"]["rows"] == N - 3
    assert "2 dropped because gain_chrf was not measured" in Page(evaluation_page(found)).text


def test_a_gain_column_wins_over_the_qualities_but_not_where_it_is_null(tmp_path: Path):
    table = columns()
    gain = (table["quality_large_chrf"] - table["quality_small_chrf"]).tolist()
    table["gain_chrf"] = [0.5, None, *gain[2:]]
    reading = read_labelled(config(write(tmp_path, table)).labels)
    assert reading.rows.gain[0] == 0.5 and reading.rows.gain[1] == pytest.approx(gain[1])
    assert any("differs" in w for w in reading.warnings)


def test_a_gain_alone_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = {k: v for k, v in columns().items() if not k.startswith("quality")}
    table["gain_x"] = np.linspace(-0.1, 0.3, N)
    found = run(write(tmp_path, table))
    assert found["systems"]["all_small"] is None
    assert {s["name"]: s["reason"] for s in found["skipped"]}["quality_oracle"]
    assert "All-small" not in Page(evaluation_page(found)).text
    print_summary(found)
    assert "all-small" not in capsys.readouterr().out


def test_where_the_large_model_is_not_better_the_gap_is_undefined(tmp_path: Path):
    table = columns()
    table["quality_large_chrf"] = table["quality_small_chrf"] - np.random.default_rng(1).uniform(-0.1, 0.3, N)
    found = run(write(tmp_path, table))
    cell = found["overall"]["length"]["pgr@0.3"]
    assert cell["value"] is None and found["overall"]["length"]["apgr"]["value"] is None
    page = Page(evaluation_page(found))
    assert "undefined" in page.text and "not better on average" in page.text


@pytest.mark.parametrize("n_documents", [1, 4])
def test_few_documents_have_figures_and_no_intervals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], n_documents: int
):
    table = columns() | {"doc": [f"d{i % n_documents}" for i in range(N)]}
    found = run(write(tmp_path, table), *NAMED)
    assert found["resamples"] == 0
    cells = [cell for cells in found["overall"].values() for cell in cells.values()]
    cells += [cell for cells in found["paired"].values() for cell in cells.values()]
    cells += [line["difference"] for line in found["by_cost"]] + [guard["severe"] for guard in found["guards"]]
    cells += [b for panel in found["calibration"].values() for b in panel["bins"]]
    cells += [
        cell
        for kind in found["groups"].values()
        for group in kind["groups"].values()
        for cells in group["scorers"].values()
        for cell in cells.values()
    ]
    assert len(cells) > 300
    assert {(cell["low"], cell["high"]) for cell in cells} == {(None, None)}
    assert {cell["probability"] for cells in found["paired"].values() for cell in cells.values()} == {None}
    assert found["overall"]["column:mine"]["mean_delta@0.3"]["value"] > 10
    words = f"No intervals: the measured rows are of {n_documents} document"
    assert any(warning.startswith(words) for warning in found["warnings"])
    assert "with unknown certainty" in say("winner", found)
    page = Page(evaluation_page(found))
    assert words in page.text and "too few documents for intervals" in page.text and "None" not in page.text
    print_summary(found)
    assert words in capsys.readouterr().out
    write_tables(tmp_path, found)


def test_a_group_of_few_documents_has_no_intervals(tmp_path: Path):
    table = columns() | {"doc": [f"d{i // 3}" if i % 2 else "one" for i in range(N)]}
    groups = run(write(tmp_path, table), *NAMED)["groups"]["domain"]["groups"]  # topics take turns, as documents do
    cells = {name: groups[name]["scorers"]["column:mine"]["mean_delta@0.3"] for name in ("news", "law")}
    assert cells["news"]["low"] is None and groups["news"]["documents"] == 1
    assert cells["law"]["low"] < cells["law"]["value"] < cells["law"]["high"]


def test_a_constant_gain_has_no_winner(tmp_path: Path):
    table = columns() | {"quality_small_chrf": np.full(N, 0.5), "quality_large_chrf": np.full(N, 0.75)}
    found = run(write(tmp_path, table))
    assert say("winner", found).startswith("No winner")
    page = Page(evaluation_page(found))
    assert "Every row has the same gain" in page.text
    print_summary(found)


def test_the_test_part_is_measured_and_the_train_part_fitted_on(tmp_path: Path):
    path = write(tmp_path, columns())
    chosen = config(
        path, "rows=test", "labels.columns.document=doc", "split.train=0.5", "split.stop=0.1", "split.calibration=0.1",
        "split.test=0.3", "split.seed=5",
    )  # fmt: skip
    _, parts, sizes = read_parts(chosen)
    keys = document_keys(columns()["doc"], columns()["source"])
    part = split_of(keys, 5, (0.5, 0.1, 0.1, 0.3))
    assert parts.rows.places.tolist() == np.flatnonzero(part == "test").tolist()
    assert parts.fit is not None and parts.fit.places.tolist() == np.flatnonzero(part == "train").tolist()
    assert sum(sizes.values()) == N
    with pytest.raises(ValueError, match="in the test part"):
        read_parts(config(path, "rows=test", "split.train=0.8", "split.test=0"))


def test_a_set_of_its_own_to_fit_on(tmp_path: Path):
    other = write(tmp_path, columns(seed=1), "b.parquet")
    _, parts, _ = read_parts(config(write(tmp_path, columns()), f"labels.fit_path={other}"))
    assert len(parts.rows) == N and parts.fit is not None and parts.stop is not None
    assert parts.calibrate is not None and len(parts.fit) > len(parts.stop) > 0
    assert len(parts.fit) + len(parts.stop) + len(parts.calibrate) == N
    with pytest.raises(ValueError, match="rows=all"):
        config(tmp_path, f"labels.fit_path={other}", "rows=test")


def test_measures_are_taken_within_folds(tmp_path: Path):
    # Scores of the second fold lie far above those of the first: pooled, they would rank the folds, not the rows.
    table = columns()
    fold = np.arange(N) % 2
    table |= {"part": [f"f{f}" for f in fold], "mine": table["mine"] + 10 * fold}
    found = run(write(tmp_path, table), "labels.columns.fold=part", "scorers.columns.mine=gain")
    gain = table["quality_large_chrf"] - table["quality_small_chrf"]
    by_fold = [measures.spearman(table["mine"][fold == f].astype(np.float32), gain[fold == f]) for f in (0, 1)]
    assert found["overall"]["column:mine"]["spearman"]["value"] == pytest.approx(np.mean(by_fold))
    assert found["input"]["folds"] == 2


def labelled_parts(tmp_path: Path) -> Parts:
    return Parts(read_labelled(config(write(tmp_path, columns())).labels).rows, None, None)


def test_a_cascade_pays_for_both_models(tmp_path: Path):
    parts = labelled_parts(tmp_path)
    rows, gain = parts.rows, parts.rows.gain.astype(np.float32)
    warnings: list[str] = []
    seconds = measured_seconds(parts, warnings)
    assert seconds is not None and warnings == []
    extra = rows.numbers["large_s"] - rows.numbers["small_s"]
    assert seconds.facts["all_small"] == pytest.approx(rows.numbers["small_s"].sum())
    assert seconds.extra == pytest.approx(extra)
    scored = [
        Scored("early", "Early", gain, seconds=0.001),
        Scored("late", "Late", gain, seconds=0.001, cascade=True),
        Scored("free", "Free", gain),
        Scored("gain_oracle", "Oracle", gain),
    ]
    axes = build_axes(parts, scored, seconds)
    assert axes["seconds"].orders["late"].cost == pytest.approx(rows.numbers["large_s"])
    comparison = Comparison(rows, scored, axes, Settings((0.3,), 0.05, (0.5,)), 100, 0)
    area = {name: cells["area_seconds"]["value"] for name, cells in comparison.overall().items()}
    assert area["late"] < area["early"] < area["free"] < area["gain_oracle"]


def test_at_equal_spending_gain_per_cost_wins_where_costs_differ(result: dict[str, Any]):
    lines = {(line["axis"], line["share"]): line for line in result["by_cost"]}
    assert set(lines) == {(axis, share) for axis in ("characters", "seconds") for share in (0.1, 0.3, 0.5)}
    for (axis, share), line in lines.items():
        difference = line["difference"]
        assert difference["value"] == pytest.approx(line["per_cost"] - line["gain"])
        assert difference["low"] <= difference["value"] <= difference["high"]
        if axis == "characters":  # sentences are up to twenty times as long as others, and the gain does not go by it
            assert difference["value"] > 0
            assert difference["low"] > 0 or share == 0.5
    assert "Gain, or gain per cost?" in evaluation_page(result)


def test_losses_are_shown_by_bucket_and_by_guard(tmp_path: Path):
    parts = labelled_parts(tmp_path)
    rows, gain = parts.rows, parts.rows.gain
    rng = np.random.default_rng(0)
    router = Scored(
        "r", "R", (gain + rng.normal(0, 0.1, N)).astype(np.float32), GAIN, ROUTER,
        quality=np.asarray(rows.quality_small, np.float32),
    )  # fmt: skip
    table = gain_buckets(rows, [router], 0.3, 0.05)
    top = np.argsort(-router.score)[:72]
    assert table["scorers"]["r"][0] == pytest.approx(np.mean(gain[top] < -0.05))
    assert sum(table["scorers"]["r"]) == pytest.approx(1) and len(table["all"]) == len(table["edges"]) + 1
    guards = guard_table(rows, [router], np.ones((100, N)), p=0.9, tau=0.05, min_gain=0.1, good=0.6)
    by_name = {g["guard"].partition(":")[0]: g for g in guards}
    floor = by_name["predicted gain above 0.1"]
    assert floor["routed"] == (router.score > 0.1).sum() < 216
    assert floor["severe"]["value"] == pytest.approx(np.mean(gain[router.score > 0.1] < -0.05))
    assert floor["severe"]["value"] < by_name["no guard"]["severe"]["value"]
    assert by_name["quality-predict"]["routed"] == (router.quality <= 0.6).sum()


def test_the_published_table_is_whole():
    published = load_published()
    assert published["status"] == "published, secondary"
    by_name = {row["router"]: row for row in published["rows"]}
    assert len(by_name) == 9 and by_name["RouteLMT"]["mean_delta"] == 12.13
    # PGR is derived: MeanDelta over that of all-large, 19.43 = 5.83 / 0.3 of a random order at p = 0.3.
    for row in by_name.values():
        assert row["pgr"] == pytest.approx(0.3 * row["mean_delta"] / 5.83, abs=0.006)


def test_the_papers_config_loads():
    loaded = load(EvaluateConfig, ["configs/paper.yaml"], [])
    assert loaded.published and loaded.p == 0.3 and list(loaded.scorers.routers) == ["lora"]
