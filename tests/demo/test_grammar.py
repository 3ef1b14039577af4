"""InventedGrammar, lexicon and corpus of the demo."""

import subprocess
import sys
from collections import Counter
from itertools import islice

import numpy as np
import pyarrow.parquet as pq
import pytest

from routelmt_ray.demo import corpus
from routelmt_ray.demo.grammar import LANGUAGE_NAMES, InventedGrammar
from routelmt_ray.demo.lexicon import load_lexicon, past, plural


@pytest.fixture(scope="module")
def examples():
    return list(islice(InventedGrammar(seed=3), 4000))


def test_same_seed_same_examples_another_seed_others(examples):
    assert list(islice(InventedGrammar(seed=3), 50)) == examples[:50]
    assert list(islice(InventedGrammar(seed=4), 50)) != examples[:50]


def test_examples_do_not_depend_on_the_hash_seed(examples):
    code = "from routelmt_ray.demo.grammar import InventedGrammar; e = InventedGrammar(3).example(); print(e.source, *e.targets.values())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "77", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.strip() == " ".join([examples[0].source, *examples[0].targets.values()])


def test_sources_look_like_english_sentences(examples):
    for example in examples:
        assert example.source[0].isupper() or example.source[0].isdigit()
        assert example.source[-1] in ".?"
        assert "  " not in example.source
        assert example.source == example.source.strip()
    lengths = [len(example.source.split()) for example in examples]
    assert 8 < np.mean(lengths) < 14
    assert max(lengths) > 25


def test_targets_differ_in_script_and_order(examples):
    def cyrillic(text):
        return sum("\u0400" <= letter <= "\u04ff" for letter in text)

    for example in examples:
        assert set(example.targets) == set(LANGUAGE_NAMES) == {"qaa", "qab"}
        letters = sum(letter.isalpha() for letter in example.targets["qab"])
        assert cyrillic(example.targets["qaa"]) == 0
        assert cyrillic(example.targets["qab"]) == letters > 0


def test_order_of_a_plain_clause():
    lexicon = load_lexicon()
    root = {lexeme.word: lexeme for lexeme in reversed(lexicon.lexemes)}
    for example in InventedGrammar(seed=8):
        words = example.source.rstrip(".").split()
        if len(words) == 4 and words[0] == "We" and words[2] == "the" and not words[1].startswith(("w", "s")):
            verbs = [x for x in lexicon.lexemes if x.category == "verb" and x.other == words[1]]
            if len(verbs) == 1 and words[3] in root:
                break
    velmari, tamzhar = (example.targets[code].rstrip(".").split() for code in ("qaa", "qab"))
    assert velmari[-1].startswith(verbs[0].velmari)
    assert velmari[0] == "mër"
    assert tamzhar[:3] == ["бы", verbs[0].tamzhar, "мы"]


def test_vocabulary_is_zipfian_and_large(examples):
    lexicon = load_lexicon()
    assert 2000 <= len({form for lexeme in lexicon.lexemes for form in (lexeme.word, lexeme.other)}) <= 3000
    counts = Counter(word for example in examples for word in example.source.rstrip(".?").replace(",", "").split())
    frequencies = np.array([count for _, count in counts.most_common(800)], dtype=float)
    slope = np.polyfit(np.log(np.arange(5, 801)), np.log(frequencies[4:]), 1)[0]
    assert -1.5 < slope < -0.8


def test_roots_are_unique_unless_shared_on_purpose():
    by_root = {}
    for lexeme in load_lexicon().lexemes:
        category = "noun" if lexeme.category in ("thing", "place") else lexeme.category
        by_root.setdefault(lexeme.velmari, set()).add((category, lexeme.domain))
    assert all(len(owners) == 1 for owners in by_root.values())


@pytest.mark.parametrize(
    ("word", "expected"), [("key", "keys"), ("berry", "berries"), ("bench", "benches"), ("box", "boxes")]
)
def test_plural(word, expected):
    assert plural(word) == expected


@pytest.mark.parametrize(
    ("word", "expected"), [("bake", "baked"), ("carry", "carried"), ("play", "played"), ("fix", "fixed")]
)
def test_past(word, expected):
    assert past(word) == expected


def test_splits_share_no_source_and_pairs_alternate():
    made = {split: corpus.rows(split, 500, seed) for split, seed in (("train", 0), ("dev", 0), ("test", 0))}
    sources = {split: {row["source"] for row in rows} for split, rows in made.items()}
    assert all(len(found) == 500 for found in sources.values())
    assert not sources["train"] & sources["test"]
    assert not sources["train"] & sources["dev"]
    assert not sources["dev"] & sources["test"]
    assert [row["target_lang"] for row in made["test"][:4]] == ["qaa", "qab", "qaa", "qab"]
    assert all(corpus.split_of(source) == split for split, found in sources.items() for source in found)


def test_corpus_command_writes_the_rows_it_was_asked_for(tmp_path, capsys):
    assert corpus.main(["--out", str(tmp_path), "--rows", "300", "--seed", "5", "--files", "2"]) == 0
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["test-000.parquet", "test-001.parquet"]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert rows == corpus.rows("test", 300, 5)
    assert tuple(rows[0]) == corpus.COLUMNS
    assert "300 rows of test" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--rows", "0"], ["--rows", "3", "--files", "4"]])
def test_corpus_command_refuses_impossible_sizes(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        corpus.main(["--out", str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert "must be" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split: expected one of train, dev, test, got 'dve'"):
        next(corpus.examples("dve", 0))


def test_corpus_imports_neither_torch_nor_ray():
    code = (
        "import sys, routelmt_ray.demo.corpus; print([m for m in ('torch', 'ray', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
