"""A cluster that could not start is refused in words, by every job that starts one."""

from pathlib import Path

import pytest

from jobs import train
from routelmt_ray.config.common import RayConfig
from routelmt_ray.config.errors import Refused
from routelmt_ray.job import command, curve, training
from routelmt_ray.runtime import cluster
from tests.conftest import Job
from tests.end_to_end.runs import ECHO


@pytest.fixture
def long_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets a temporary folder with a name that is too long for a socket."""
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setenv("TMPDIR", "/scratch/" + "user" * 20)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)


def test_a_temporary_folder_with_a_long_name_is_refused(long_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with command.ending() as end, command.checking():
        cluster.check(RayConfig())
    assert end.status == command.REFUSED
    words = "the temporary folder /scratch/.* has a name of 89 bytes, .* set RAY_TMPDIR"
    with pytest.raises(Refused, match=words), command.checking():
        cluster.check(RayConfig())
    cluster.check(RayConfig(address="auto"))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    cluster.check(RayConfig())


@pytest.mark.parametrize("script", ["translate", "label", "profile_costs"])
def test_a_job_over_a_corpus_is_refused_before_it_holds_its_folder(
    long_folder: None, no_cluster: None, tmp_path: Path, script: str
) -> None:
    (tmp_path / "in.jsonl").write_text('{"source": "A dog."}\n')
    words = {
        "translate": ["budget.rows=1", "router.kind=length"],
        "label": ["input.columns.reference=source"],
        "profile_costs": ["router.kind=length"],
    }
    job = Job(tmp_path / "run")
    job.script = script
    refused = job.run(f"input.path={tmp_path / 'in.jsonl'}", *ECHO, *words[script], check=2)
    assert "refused: the temporary folder /scratch/" in refused.stderr and "set RAY_TMPDIR" in refused.stderr
    assert not (tmp_path / "run").exists()


TRAIN = ["out=router", "labels.path=labels", "labels.source_lang=en", "labels.target_lang=de", "small.engine=hf",
         "small.path=none"]  # fmt: skip


@pytest.mark.parametrize(("method", "refused"), [("probe", True), ("lora", False)])
def test_a_training_that_needs_a_cluster_is_refused(
    long_folder: None, no_cluster: None, monkeypatch: pytest.MonkeyPatch, method: str, refused: bool
) -> None:
    class Ready(Exception):
        pass

    def run(*_: object) -> None:
        raise Ready

    monkeypatch.setattr(training, "prepare", lambda config: config)
    monkeypatch.setattr(training, "is_finished", lambda _: False)
    monkeypatch.setattr(train, "run", run)
    words = [*TRAIN, "work_dir=work", f"method={method}"]
    if refused:
        assert train.main(words) == command.REFUSED
    else:
        with pytest.raises(Ready):
            train.main(words)
    monkeypatch.setattr(training, "is_finished", lambda _: True)
    monkeypatch.setattr(train, "print_router", lambda *_: None)
    monkeypatch.setattr(train.storage, "read_json", lambda _: {})
    assert train.main(words) == 0, "nothing is to be done"


def test_a_learning_curve_that_needs_a_cluster_is_refused(
    long_folder: None, no_cluster: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(curve, "check_model", lambda *_: None)
    monkeypatch.setattr(curve, "read_training_rows", lambda _: None)
    assert curve.main([*TRAIN, "work_dir=work", "curve.methods=[probe]"]) == command.REFUSED
    assert "refused: the temporary folder /scratch/" in caplog.text
