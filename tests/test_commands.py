"""The command `routelmt`: a job by its name, with the words that follow."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs import __main__ as routelmt
from tests.conftest import ROOT


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Modules that are started, with their words, in place of the jobs."""
    calls: list[tuple[str, list[str]]] = []

    def note(module: str, **how: Any) -> None:
        assert how == {"run_name": "__main__", "alter_sys": True}
        calls.append((module, sys.argv[1:]))

    monkeypatch.setattr(runpy, "run_module", note)
    return calls


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["routelmt", *words])
    routelmt.main()


def test_every_job_has_a_name() -> None:
    files = {path.stem for path in (ROOT / "jobs").glob("*.py") if not path.stem.startswith("__")}
    assert {module.removeprefix("jobs.") for module, _ in routelmt.COMMANDS.values()} == files | {
        "routelmt_ray.job.export"
    }


def test_words_go_to_the_job(monkeypatch: pytest.MonkeyPatch, started: list[tuple[str, list[str]]]) -> None:
    for name, (module, _) in routelmt.COMMANDS.items():
        if name != "demo":
            call(monkeypatch, name, "--config", "a.yaml", "run_dir=b", "--help")
            assert started.pop() == (module, ["--config", "a.yaml", "run_dir=b", "--help"])


def test_help_names_all_and_another_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, started: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["-h"], ["--help"]):
        call(monkeypatch, *words)
        shown = capsys.readouterr().out
        assert all(f"  {name} " in shown and line in shown for name, (_, line) in routelmt.COMMANDS.items())
    for wrong in ("profile_costs", "", "--config"):
        with pytest.raises(SystemExit) as ended:
            call(monkeypatch, wrong)
        assert ended.value.code == 2
        assert f"no command {wrong!r}; the commands are translate, label," in capsys.readouterr().err
    assert not started


def test_the_demo_is_a_corpus_and_a_translate_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[tuple[str, list[str]]]
) -> None:
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, "demo", "budget.rows=3", "--rows", "10", "--out", "here", "seed=4")
    ((module, words),) = started
    assert module == "jobs.translate"
    assert words[-2:] == ["budget.rows=3", "seed=4"]
    assert {"input.path=here/corpus", "run_dir=here/run"} < set(words)
    named = [Path(word.partition("=")[2]) for word in words if word.startswith(("--config", "models", "router"))]
    assert len(named) == 4
    assert all(path.is_absolute() and path.exists() for path in named)
    assert pq.read_table(tmp_path / "here" / "corpus").num_rows == 10


@pytest.mark.parametrize(
    ("rows", "message"), [("0", "rows: must be at least 1, got 0"), ("x", "invalid int value: 'x'")]
)
def test_a_demo_of_no_rows_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    started: Any,
    capsys: pytest.CaptureFixture[str],
    rows: str,
    message: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        call(monkeypatch, "demo", "--rows", rows, "--out", str(tmp_path / "demo"))
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not started
