"""A glossary in a whole job: its terms are in prompts that have a place for them, and are counted in the report."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.checks.leak import leaks
from routelmt_ray.config import loader
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.engines.hf import HfEngine
from routelmt_ray.engines.tokenizers import load_tokenizer
from routelmt_ray.job import translation
from routelmt_ray.job.job import Preparation, open_run
from routelmt_ray.stages.check import chosen_outputs
from tests.conftest import DEMO_CONFIG, Job
from tests.end_to_end.runs import ECHO, output, run

COLUMNS = [f"input.columns.{name}=null" for name in ("id", "source_lang", "target_lang", "reference")]
COLUMNS += ["input.source_lang=en", "input.target_lang=es", "budget.fraction=null", "budget.rows=2"]
PLACE = "template: '{tgt}: {text}'\nlanguage_names: {es: Spanish, de: German}\nwith_terms: '{tgt}, {terms}: {text}'\n"


def test_the_report_says_which_share_of_the_terms_each_model_keeps(without_ray: None, job: Job, tmp_path: Path) -> None:
    texts = ["dog " * (i + 1) + ("cat" if i % 2 else "") for i in range(40)]
    pq.write_table(pa.table({"source": texts}), tmp_path / "in.parquet")
    glossary = tmp_path / "terms.csv"
    glossary.write_text("source,target,pair\ndog,dog,\ncat,Katze,en->de\nbird,bird,\n")
    words = [
        *ECHO, f"input.path={tmp_path / 'in.parquet'}", "input.shard_rows=16", "router.kind=length", "budget.rows=10",
        "checks.copy.action=flag",  # a term counts also where a check finds a fault
    ]  # fmt: skip
    ended = job.run(*words, f"glossary.path={glossary}")
    # The large model has the ten longest rows, and every second row has a cat, which both models leave as it is.
    terms = [
        {"pair": "en→de", "model": "small", "kept": 30, "terms": 45},
        {"pair": "en→de", "model": "large", "kept": 10, "terms": 15},
    ]
    assert job.report()["terms"] == terms
    assert set(job.output()["status"].to_pylist()) == {"ok", "copied_source"}
    assert "glossary     66.7 % of 60 terms kept: small 66.7 %, large 66.7 %" in ended.stdout
    page = (job.run_dir / "report.html").read_text()
    assert "Terms of the glossary" in page and '<td class="r">45</td><td class="r">30</td>' in page
    translated = {
        path: path.stat().st_mtime_ns for name in ("small", "large") for path in (job.run_dir / name).rglob("*")
    }
    assert "nothing to do" in job.run(*words, f"glossary.path={glossary}").stderr

    glossary.write_text("source,target\ncat,cat\n")
    job.run(*words, f"glossary.path={glossary}")
    assert [(found["kept"], found["terms"]) for found in job.report()["terms"]] == [(15, 15), (5, 5)]
    ended = job.run(*words)
    assert job.report()["terms"] == [] and "glossary" not in ended.stdout
    assert "Terms of the glossary" not in (job.run_dir / "report.html").read_text()
    assert translated == {path: path.stat().st_mtime_ns for path in translated}


def test_a_glossary_that_cannot_be_read_is_refused_before_ray_starts(
    no_cluster: None, job: Job, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"source": ["a"]}), tmp_path / "in.parquet")
    words = [*ECHO, f"input.path={tmp_path / 'in.parquet'}", "router.kind=length", "budget.rows=1"]
    assert "is not a file on this machine" in job.run(*words, "glossary.path=no/where.csv", check=2).stderr


def pair_words(folder: Path, place: str) -> list[str]:
    """The embedded pair with a prompt family that is the shipped one, or has a place for terms too."""
    (folder / "own.yaml").write_text(PLACE)
    (folder / "terms.csv").write_text("source,target,pair\nhouse,casita,en->es\n")
    prompt = str(folder / "own.yaml") if place else "demo"
    return [f"models.{size}.prompt={prompt}" for size in ("small", "large")] + [f"glossary.path={folder / 'terms.csv'}"]


def prepared(folder: Path, *words: str) -> tuple[TranslateConfig, Preparation]:
    path = folder / "in.parquet"
    if not path.exists():
        texts = ["The house is old.", "The dog sleeps.", "A house!", "I like the red car."]
        pq.write_table(pa.table({"source": texts}), path)
    config = loader.load(
        TranslateConfig, [DEMO_CONFIG], [f"run_dir={folder / 'run'}", f"input.path={path}", *COLUMNS, *words]
    )
    return config, translation.prepare(config)


def test_terms_are_in_the_prompts_of_router_and_models_and_bind_the_run_directory(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[tuple[int, ...]]] = {"probe": set(), "translate": set()}
    for name, sent in seen.items():
        ask = getattr(HfEngine, name)

        def watched(self: HfEngine, prompts: list, ask=ask, sent=sent) -> object:
            sent.update(tuple(prompt.ids) for prompt in prompts)
            return ask(self, prompts)

        monkeypatch.setattr(HfEngine, name, watched)
    words = pair_words(tmp_path, "own")
    config, _ = prepared(tmp_path, *words)
    report = run(tmp_path / "run", tmp_path / "in.parquet", *COLUMNS, *words, config=DEMO_CONFIG)
    tokenizer = load_tokenizer(config.models.small)
    asked = [tokenizer.decode(ids) for ids in seen["probe"]]
    assert sum("Spanish, house = casita:" in prompt for prompt in asked) == 2, "two of the four rows have a house"
    assert seen["probe"] == seen["translate"], "the router reads what both models are asked"
    assert sum(found["terms"] for found in report["terms"]) == 2
    assert output(tmp_path / "run")["status"].to_pylist() == ["ok"] * 4
    assert prepared(tmp_path, *words)[1].glossary.terms == {"en→es": {"house": "casita"}}, "the same glossary goes on"

    (tmp_path / "terms.csv").write_text("source,target,pair\nhouse,casa,en->es\n")
    with pytest.raises(ValueError, match="was made with other settings:\n  terms"):
        prepared(tmp_path, *words)
    with pytest.raises(ValueError, match="terms"):
        prepared(tmp_path, *words, "glossary.prompt=false")


def test_a_memory_has_a_folder_for_each_glossary_in_prompts(tmp_path: Path) -> None:
    folders = []
    counted = ["glossary.prompt=false"]
    for number, (place, more) in enumerate([("own", []), ("own", counted), ("own", []), ("", []), ("", [])]):
        words = pair_words(tmp_path, place)
        if number > 1:
            (tmp_path / "terms.csv").write_text("source,target\n" + "house,casa\n" * (number % 2) + "dog,perro\n")
        memory = [f"memory.path={tmp_path / 'memory'}", "input.duplicates=once"]
        config, preparation = prepared(tmp_path, *words, *memory, *more)
        folders.append(translation.memories_of(config, preparation)["small"].folder)
    assert len(set(folders)) == 3
    assert folders[1] == folders[3] == folders[4], "terms that are only counted change no prompt"


def test_a_family_without_a_place_leaves_prompts_as_they_are_and_says_so_once_for_each_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        _, preparation = prepared(tmp_path, *pair_words(tmp_path, ""))
    said = [record.message for record in caplog.records if "have no place" in record.message]
    assert len(said) == 1 and "the prompts of models.small and models.large have no place" in said[0]
    assert not preparation.glossary.terms and "terms" not in preparation.identity
    assert prepared(tmp_path, *pair_words(tmp_path, ""))[1].identity == prepared(tmp_path)[1].identity


def test_a_translation_that_repeats_the_request_for_terms_is_known_as_text_of_the_prompt(
    without_ray: None, tmp_path: Path
) -> None:
    words = [f"models.{size}.prompt=plain" for size in ("small", "large")]
    _, preparation = prepared(tmp_path, *words, *pair_words(tmp_path, "")[2:], "router.kind=length", "router.path=null")
    context, _ = open_run(preparation, ["translation"])
    columns = {
        "translation": ["Translate these terms as follows:\nhouse = casita"],
        "model": ["small"],
        "status": ["ok"],
    }
    ((_, checked),) = chosen_outputs(context, columns, pa.table({"source": ["The house is old."]}))
    assert "text of the prompt" in leaks(checked)
