"""The terms of a glossary in single rows, and the files it is read from."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.checks.plan import CheckedOutput
from routelmt_ray.checks.terms import Glossary, count_terms, read_glossary

TERMS = Glossary({"": {"log in": "anmelden", "Acme": "Acme"}, "en→de": {"dog": "Hund"}, "en→fr": {"dog": "chien"}})


def count(source: str, translation: str, pair: str = "en→de", glossary: Glossary = TERMS) -> tuple[int, int]:
    return count_terms(glossary, CheckedOutput(source, translation, pair[:2], pair[-2:], pair))


@pytest.mark.parametrize(
    ("source", "translation", "wanted"),
    [
        ("The dog sleeps.", "Der Hund schläft.", (1, 1)),
        ("DOG and dog", "Hunde", (1, 1)),  # once a row, in any case, with an ending
        ("The dog sleeps.", "Der Köter schläft.", (0, 1)),
        ("A dogma", "Ein Hund", (0, 0)),  # only whole words of the source
        ("Please log\nin, dog of ACME", "Bitte anmelden bei acme", (2, 3)),
        ("log, not in", "anmelden", (0, 0)),
        ("logs in", "anmelden", (0, 0)),
        ("", "Hund", (0, 0)),
    ],
)
def test_terms_of_a_row(source: str, translation: str, wanted: tuple[int, int]) -> None:
    assert count(source, translation) == wanted


def test_a_pair_has_its_terms_and_those_of_all_pairs() -> None:
    assert count("log in, dog", "chien", "en→fr") == (1, 2)
    assert count("log in, dog", "chien", "en→es") == (0, 1)
    assert count("dog", "Hund", glossary=Glossary()) == (0, 0)
    own = Glossary({"": {"dog": "Tier"}, "en→de": {"dog": "Hund"}})
    assert count("dog", "Tier", glossary=own) == (0, 1), "the term of the pair goes before that of all pairs"


def test_terms_of_a_language_without_blanks_between_words() -> None:
    assert count("我的小狗睡了", "My puppy sleeps", "zh→en", Glossary({"": {"小狗": "puppy", "猫": "cat"}})) == (1, 1)


def test_csv_and_parquet_give_the_same_glossary(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('pair,source,target\n,"log, in", anmelden\nen->de,dog,Hund\nen→fr,dog,chien\n')
    rows = {
        "source": ["log, in", "dog", "dog"],
        "target": ["anmelden", "Hund", "chien"],
        "pair": [None, "eng_Latn -> deu_Latn", "en→fr"],
    }
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    found, same = (read_glossary(str(tmp_path / name)) for name in ("a.csv", "a.parquet"))
    assert found == same and found.digest == same.digest
    assert found.terms == {"": {"log, in": "anmelden"}, "en→de": {"dog": "Hund"}, "en→fr": {"dog": "chien"}}
    (tmp_path / "b.csv").write_text("source,target\ndog,Hund\n")
    other = read_glossary(str(tmp_path / "b.csv"))
    assert other.terms == {"": {"dog": "Hund"}} and other.digest != found.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is not a file on this machine; name a .csv or .parquet file"),
        ("", "cannot be read"),
        ("term,pair\ndog,en->de\n", "has no column source and target; it has term, pair"),
        ("source,target\ndog,Hund\ncat,\n", "row 2 has no target term"),
        ("source,target\n ,Hund\n", "row 1 has no source term"),
        ("source,target,pair\ndog,Hund,en-de\n", "row 1 has the pair 'en-de'; write two language codes, e.g. en->de"),
        ("source,target,pair\ndog,Hund,en->xx-no\n", "row 1 has the pair 'en->xx-no'"),
    ],
)
def test_a_file_that_is_no_glossary_is_refused(text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_glossary(str(tmp_path / "a.csv"))
