"""Tests of the section on what is missing: the ceiling that chance in the references sets, and what more labels would win."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routelmt_ray.evaluation.ceiling import gain_ceiling
from routelmt_ray.evaluation.labelled import Labelled
from routelmt_ray.evaluation.scorers import GAIN, Scored
from routelmt_ray.reports.evaluation_tables import print_summary
from routelmt_ray.reports.pages import evaluation_page
from tests.evaluation.test_evaluate import NAMED, columns, run, write


def translated(words: int, spread: float, n: int = 3000, seed: int = 0) -> tuple[Labelled, np.ndarray]:
    """Rows in which each model misses each word by chance; returns them and the expected gain of each."""
    rng = np.random.default_rng(seed)
    expected = 0.3 + spread * rng.uniform(-1, 1, n)
    names = np.array([f"word{i}" for i in range(words)])
    kept_small, kept_large = (rng.random((n, words)) < share[:, None] for share in (0.6 - expected, np.full(n, 0.6)))
    texts = {"reference": [" ".join(names)] * n}
    for size, kept in (("small", kept_small), ("large", kept_large)):
        texts[f"{size}_translation"] = [" ".join(names[row]) for row in kept]
    gain = kept_large.mean(1) - kept_small.mean(1)
    none: list[Any] = [None] * n
    rows = Labelled(
        ["x"] * n, none, none, [f"d{i}" for i in range(n)], gain, None, None, np.arange(n), texts=dict(texts)
    )
    return rows, expected


def perfect(expected: np.ndarray) -> Scored:
    return Scored("best", "best", expected.astype(np.float32), GAIN)


@pytest.mark.parametrize(("words", "spread"), [(8, 0.2), (20, 0.25), (20, 0.0)])
def test_the_ceiling_is_the_correlation_of_the_expected_gain(words: int, spread: float) -> None:
    rows, expected = translated(words, spread)
    found = gain_ceiling(rows, perfect(expected), 0)
    assert found is not None
    reached = np.corrcoef(expected, rows.gain)[0, 1] if spread else 0.0
    assert found["correlation"] == pytest.approx(reached, abs=0.05 if spread else 0.2)
    assert found["reached"] == pytest.approx(reached)
    assert found["correlation"] ** 2 == pytest.approx(found["reliability"])
    assert found["agreement"] == pytest.approx(1)
    assert found["rows"] == len(rows)


def test_there_is_no_ceiling_without_references_translations_or_rows() -> None:
    rows, expected = translated(8, 0.2, n=150)
    assert gain_ceiling(rows, perfect(expected), 0) is not None
    for name in rows.texts:
        assert gain_ceiling(replace(rows, texts=rows.texts | {name: [None] * 150}), perfect(expected), 0) is None
        assert gain_ceiling(replace(rows, texts={k: v for k, v in rows.texts.items() if k != name}), perfect(expected), 0) is None  # fmt: skip
    few = rows.take(np.arange(99))
    assert gain_ceiling(few, perfect(expected[:99]), 0) is None
    short, expected = translated(3, 0.2, n=150)
    assert gain_ceiling(short, perfect(expected), 0) is None


SPLIT = ["split.train=0.6", "split.stop=0.1", "split.calibration=0.05", "split.test=0.25"]


def learned(folder: Path, *words: str) -> dict[str, Any]:
    """An evaluation whose gain depends on a few words of the source."""
    table, rng = columns(400), np.random.default_rng(1)
    names = np.array([f"name{chr(97 + i)}{chr(97 + j)}" for i in range(5) for j in range(5)])
    chosen = rng.integers(0, len(names), (400, 3))
    table["source"] = [f"{' '.join(names[row])} {i}" for i, row in enumerate(chosen)]
    table["doc"] = [f"d{i}" for i in range(400)]
    gain = 0.1 + rng.normal(0, 0.1, len(names))[chosen].sum(1)
    table["quality_large_chrf"] = table["quality_small_chrf"] + gain
    return run(write(folder, table), *NAMED, "rows=test", *SPLIT, *words)


def test_the_curve_of_the_ridge_ends_with_all_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "curve.json").write_text(
        json.dumps({"points": [{"method": "lora", "labels": 4321, "normalized_area": 0.456, "spearman": 0.45, "x": 1}]})
    )
    result = learned(tmp_path, f"curve={tmp_path / 'curve.json'}")
    learning = result["learning"]
    first, second, last = learning["points"]
    assert last["labels"] == result["input"]["parts"]["train"]
    assert first["labels"] == pytest.approx(last["labels"] / 4, rel=0.02)
    assert second["labels"] == pytest.approx(last["labels"] / 2, rel=0.02)
    assert last["area"]["value"] == pytest.approx(result["overall"]["text_ridge"]["area_calls"]["value"])
    assert first["area"]["value"] < last["area"]["value"]
    assert learning["doubling"]["value"] == pytest.approx(last["area"]["value"] - second["area"]["value"])
    print_summary(result)
    said = " ".join(capsys.readouterr().out.split())
    assert f"More labels: the tf-idf ridge has an area in calls of .{1000 * first['area']['value']:03.0f} with" in said
    assert "The ceiling" not in said  # the set has no references
    html = evaluation_page(result)
    assert "What is missing" in html and "4,321" in html and ".456" in html


def test_a_curve_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, columns())
    with pytest.raises(ValueError, match="curve .*none.json: not the curve.json of"):
        run(path, *NAMED, f"curve={tmp_path / 'none.json'}")
    (tmp_path / "other.json").write_text('{"points": [{"labels": 3}]}')
    with pytest.raises(ValueError, match="not the curve.json of .*'method'"):
        run(path, *NAMED, f"curve={tmp_path / 'other.json'}")


def test_the_ceiling_is_said_and_references_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, _ = translated(8, 0.2, n=240)
    table = columns() | {"ref": rows.texts["reference"]}
    table |= {name: rows.texts[name] for name in ("small_translation", "large_translation")}
    table["quality_large_chrf"] = table["quality_small_chrf"] + rows.gain
    result = run(write(tmp_path, table), *NAMED, "labels.columns.reference=ref")
    assert result["learning"] is None  # nothing to fit on
    assert result["samples"][0]["reference"] == rows.texts["reference"][0]
    print_summary(result)
    said = " ".join(capsys.readouterr().out.split())
    share = round(100 * (1 - result["ceiling"]["reliability"]))
    assert f"The ceiling: by the words of the references, about {share} % of the gain's variance comes from" in said
    assert "More labels" not in said
    assert "What is missing" in evaluation_page(result)
    assert run(write(tmp_path, table), *NAMED)["ceiling"] is None  # no column is called `reference`
