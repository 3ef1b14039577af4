"""The pages beside the code: links lead somewhere, keys exist, and the README stays short."""

import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from routelmt_ray.config.evaluate import EvaluateConfig
from routelmt_ray.config.label import LabelConfig
from routelmt_ray.config.profile import ProfileConfig
from routelmt_ray.config.train import TrainConfig
from routelmt_ray.config.translate import TranslateConfig

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".", ".github", "cluster", "configs", "jobs", "routelmt_ray", "tests", "tests/benchmarks", "tests/faults")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
LINK = re.compile(r"\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
NO_KEYS = ("py", "json", "html", "md", "yaml", "yml", "parquet", "safetensors")


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as GitHub links them."""
    titles = re.findall(r"(?m)^#+ (.*)$", re.sub(r"(?s)```.*?```", "", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_to_a_file_and_a_heading(page: Path) -> None:
    for found in LINK.findall(page.read_text("utf-8")):
        name, _, anchor = (found[0] or found[1]).partition("#")
        if name.startswith(("http:", "https:")):
            continue
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{name} is not there"
        assert not anchor or anchor in anchors(target), f"{name}#{anchor} is no heading"


def keys(config: type) -> Iterator[str]:
    """Dotted keys of a configuration, sections included."""
    for name, kind in typing.get_type_hints(config).items():
        yield name
        if dataclasses.is_dataclass(kind):
            yield from (f"{name}.{key}" for key in keys(typing.cast(type, kind)))


KNOWN = {
    key for config in (TranslateConfig, LabelConfig, TrainConfig, EvaluateConfig, ProfileConfig) for key in keys(config)
}
SECTIONS = sorted({key.split(".")[0] for key in KNOWN if "." in key})
NAMES = {"ray.data.llm"}
MAPPINGS = (
    "scorers.routers",
    "scorers.columns",
    "budget.floors",
    "budget.caps",
    "vllm.engine_args",
    "endpoint.extra",
    "endpoint.headers_env",
)


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p.name not in ("CHANGELOG.md", "RESULTS.md")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_keys_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8").replace("models.*", "models.small")
    named = re.findall(rf"(?<![\w./`-])`?'?((?:{'|'.join(SECTIONS)})\.[a-z_]+(?:\.[a-z_]+)*)(?![\w(/])", text)
    wrong = {
        key
        for key in named
        if key not in KNOWN | NAMES and key.rpartition(".")[2] not in NO_KEYS and not any(m in key for m in MAPPINGS)
    }
    assert not wrong


def test_the_readme_has_at_most_a_thousand_words() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 1000


FIGURES = ROOT / "tests" / "benchmarks" / "RESULTS.md"
SECTIONS_OF_FIGURES = re.split(r"(?m)^#{2,3} ", FIGURES.read_text("utf-8"))[1:]
DATE = re.compile(r"\b20\d\d-\d\d-\d\d\b|\b\d{1,2} [A-Z][a-z]+ 20\d\d\b")
COMMIT = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{7}\b")
MACHINE = re.compile(r"\bNVIDIA [A-Z]\d+\b")


@pytest.mark.parametrize("section", SECTIONS_OF_FIGURES, ids=lambda section: section.partition(":")[0])
def test_figures_name_their_day_and_their_commit_or_machine(section: str) -> None:
    if "\n|" not in section:
        return
    said = "\n".join(line for line in section.splitlines() if not line.startswith("|"))
    assert DATE.search(said), "no day"
    assert COMMIT.search(said) or MACHINE.search(said), "neither commit nor machine"


def test_every_benchmark_is_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    scripts = sorted(path.name for path in FIGURES.parent.glob("bench_*.py"))
    assert len(scripts) > 10
    assert [name for name in scripts if f"tests/benchmarks/{name}" not in makefile] == []
