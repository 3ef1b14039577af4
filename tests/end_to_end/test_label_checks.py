"""Checks in the label job: columns with the verdicts on both translations, counted in the report."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.checks.copied import open_check
from routelmt_ray.checks.plan import CheckPlan
from routelmt_ray.config import loader
from routelmt_ray.config.label import LabelConfig
from tests.checks.planted import pairs
from tests.end_to_end.label_runs import run
from tests.end_to_end.runs import output
from tests.toy_kinds import KINDS

WORDS = [
    "input.shard_rows=40", "input.columns.source_lang=from", "input.columns.target_lang=to", "input.columns.reference=source",
    "models.small.engine=echo", "models.large.engine=swap",
]  # fmt: skip
CHECKED = [
    "checks.copy.action=flag", "checks.length.action=flag", "checks.length.min_rows=10", "input.protect=[numbers]",
    "checks.protected.action=flag",
]  # fmt: skip


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for table, name, kind in KINDS:
        monkeypatch.setitem(table, name, kind)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The planted sentences, which the small model returns as they are, and a row without a source."""
    rows: list[dict[str, Any]] = [{"source": o.source, "from": o.source_lang, "to": o.target_lang} for o in pairs()]
    pq.write_table(pa.Table.from_pylist([*rows, {"source": None, "from": "en", "to": "de"}]), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_labels_say_which_checks_each_translation_fails(corpus: Path, without_ray: None, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    report = run(run_dir, corpus, *WORDS, *CHECKED)
    rows = output(run_dir).to_pylist()
    *translated, lost = rows
    assert {row["check_small"] for row in translated} == {"copy"}, "numbers stay, and every length is usual"
    copies = open_check(CheckPlan())
    found = [copies(o._replace(translation=o.source.swapcase())) for o in pairs()]
    wanted = ["copy" if finding and finding.failed else "" for finding in found]
    assert [row["check_large"] for row in translated] == wanted and len(set(wanted)) == 2
    assert (lost["check_small"], lost["check_large"]) == (None, None)
    assert {row["status"] for row in translated} == {"ok"}, "a verdict changes no status, and no row is lost"
    n = len(translated)
    assert report["checks"]["small"] == {"checked": n, "failed": n, "copy": n}
    card = (run_dir / "dataset_card.md").read_text()
    assert f"| small | {n} | {n} (100.0 %) | `copy` {n} |" in card and "`check_large`" in card

    stamps = {
        path: path.stat().st_mtime_ns for name in ("small", "large", "quality") for path in (run_dir / name).rglob("*")
    }
    report = run(run_dir, corpus, *WORDS, *CHECKED, "checks.copy.max_share=1")
    assert {row["check_small"] for row in output(run_dir).to_pylist()[:-1]} == {""}
    assert report["checks"]["small"] == {"checked": n, "failed": 0}
    report = run(run_dir, corpus, *WORDS)
    assert "check_small" not in output(run_dir).column_names and report["checks"] == {}
    assert "fail a check" not in (run_dir / "dataset_card.md").read_text()
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}, "only the merge is repeated"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["checks.action=quarantine"], "checks.leak has the action quarantine, but labels keep every row"),
        (["checks.copy.action=escalate"], "checks.copy has the action escalate, but labels keep every row"),
        (["checks.action=flag", "checks.columns=true"], "checks.columns is true, but labels have no measures"),
        (["input.protect=[urls]"], "input.protect is ['urls'], but checks.protected.action is off"),
    ],
)
def test_what_labels_cannot_do_is_refused(words: list[str], said: str) -> None:
    fixed = ["run_dir=a", "input.path=b", "input.source_lang=en", "input.target_lang=de", "input.columns.reference=r"]
    engines = ["models.small.engine=echo", "models.large.engine=echo"]
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        loader.load(LabelConfig, [], [*fixed, *engines, *words])
