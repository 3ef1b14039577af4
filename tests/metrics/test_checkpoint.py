"""Checkpoints and environments are judged before anything is loaded, and refused in words."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from routelmt_ray.config.label import CometConfig
from routelmt_ray.metrics.checkpoint import environment, inspect_checkpoint, package_versions


def folder(at: Path, name: str, **hparams: object) -> str:
    """A folder that looks like a checkpoint."""
    (at / name / "checkpoints").mkdir(parents=True)
    (at / name / "hparams.yaml").write_text(yaml.safe_dump(hparams))
    (at / name / "checkpoints" / "model.ckpt").write_bytes(b"weights")
    return str(at / name)


@pytest.mark.parametrize(
    ("name", "hparams", "has_references", "needs", "licence"),
    [
        ("wmt22-comet-da", {"class_identifier": "regression_metric"}, True, True, "Apache-2.0"),
        ("mine", {"class_identifier": "regression_metric"}, False, True, "unknown"),
        ("mine", {"class_identifier": "referenceless_regression_metric"}, True, False, "unknown"),
        ("mine", {"class_identifier": "xcomet_metric"}, True, True, "CC-BY-NC-SA-4.0"),
        ("XCOMET-XL", {"class_identifier": "xcomet_metric"}, False, False, "CC-BY-NC-SA-4.0"),
        ("mine", {"class_identifier": "unified_metric", "input_segments": ["mt", "src"]}, True, False, "CC-BY-NC-SA-4.0"),
        ("mine", {"class_identifier": "unified_metric", "input_segments": ["mt", "ref"]}, True, True, "unknown"),
        ("wmt22-cometkiwi-da", {"class_identifier": "regression_metric"}, True, True, "CC-BY-NC-SA-4.0"),
    ],
)  # fmt: skip
def test_class_and_name_tell_references_and_licence(
    tmp_path: Path, name: str, hparams: dict[str, object], has_references: bool, needs: bool, licence: str
) -> None:
    path = folder(tmp_path, name, pretrained_model="xlm-roberta-large", **hparams)
    found = inspect_checkpoint("metrics.comet", CometConfig(path=path), has_references)
    assert (found.needs_reference, found.licence) == (needs, licence)
    assert found.non_commercial == (licence == "CC-BY-NC-SA-4.0")
    assert found.encoder == "xlm-roberta-large"


def test_a_checkpoint_that_works_both_ways_may_be_told_which(tmp_path: Path) -> None:
    path = folder(tmp_path, "x", class_identifier="xcomet_metric")
    told = CometConfig(path=path, use_reference=False)
    assert not inspect_checkpoint("metrics.comet", told, True).needs_reference
    plain = folder(tmp_path, "r", class_identifier="regression_metric")
    with pytest.raises(ValueError, match=r"metrics.comet.use_reference is False, but .* needs references"):
        inspect_checkpoint("metrics.comet", CometConfig(path=plain, use_reference=False), True)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder, and not a hub id"):
        inspect_checkpoint("metrics.comet", CometConfig(path="/nowhere/at/all"), True)
    with pytest.raises(ValueError, match="it has no hparams.yaml and no checkpoints/model.ckpt"):
        inspect_checkpoint("metrics.comet", CometConfig(path=str(tmp_path)), True)
    odd = folder(tmp_path, "odd", class_identifier="ranking_metric")
    with pytest.raises(ValueError, match="class_identifier is 'ranking_metric'; it must be one of"):
        inspect_checkpoint("metrics.comet", CometConfig(path=odd), True)
    bare = folder(tmp_path, "bare", something=1)
    with pytest.raises(ValueError, match="hparams.yaml cannot be used"):
        inspect_checkpoint("metrics.comet", CometConfig(path=bare), True)


def test_another_interpreter_must_run_and_have_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"metrics.comet.python /no/python: does not run as a Python interpreter"):
        environment("metrics.comet", "/no/python")
    import venv

    venv.create(tmp_path / "bare", with_pip=False)
    with pytest.raises(ValueError, match=r"its environment has no unbabel-comet.*pip install -c cluster/constraints"):
        environment("metrics.comet", str(tmp_path / "bare" / "bin" / "python"))


@pytest.mark.skipif(find_spec("comet") is None, reason="unbabel-comet is not installed: pip install .[comet]")
def test_this_environment_as_another_interpreter_says_the_same() -> None:
    assert environment("metrics.comet", sys.executable) == environment("metrics.comet", None) == package_versions()


def test_without_unbabel_comet_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -c cluster/constraints.txt .\[comet\]"):
        environment("metrics.comet", None)
