"""The list of mutants that no test can notice is about lines that are there."""

from tests.conftest import ROOT
from tests.mutants import EQUIVALENT


def test_each_listed_line_is_in_its_module() -> None:
    lines = [line for line in EQUIVALENT.read_text().splitlines() if "  ≡  " in line]
    assert len(lines) > 20
    for line in lines:
        module, _, mutant = line.partition(": ")
        there = {text.strip() for text in (ROOT / module).read_text().splitlines()}
        assert any(mutant.startswith(f"{text}: ") for text in there if text), f"stale: {line}"
