"""Rows of the English-Spanish-German corpus: seeds, splits, distinctness, word frequencies."""

import re
import subprocess
import sys
from collections import Counter
from importlib import resources
from itertools import islice

import numpy as np
import pytest

from routelmt_ray.demo import corpus, grammar
from routelmt_ray.demo.compose import DOMAINS
from routelmt_ray.demo.corpus import COLUMNS
from routelmt_ray.demo.frames import load_frames
from routelmt_ray.demo.links import load_links
from routelmt_ray.demo.vocabulary import load_vocabulary


@pytest.fixture(scope="module")
def examples():
    return list(islice(grammar.Grammar(seed=3), 4000))


def test_same_seed_same_examples_another_seed_others(examples):
    assert list(islice(grammar.Grammar(seed=3), 50)) == examples[:50]
    assert list(islice(grammar.Grammar(seed=4), 50)) != examples[:50]


def test_examples_do_not_depend_on_the_hash_seed(examples):
    code = "from routelmt_ray.demo.grammar import Grammar\nfor _, e in zip(range(9), Grammar(3)): print(e.source, *e.targets.values())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "77", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.splitlines() == [" ".join([e.source, *e.targets.values()]) for e in examples[:9]]


def test_texts_are_well_formed(examples):
    for example in examples:
        assert set(example.targets) == set(grammar.LANGUAGE_NAMES) == {"es", "de"}
        for text in (example.source, *example.targets.values()):
            assert text[0].isupper() or text[0] in "¿0123456789"
            assert text[-1] in ".?"
            assert not re.search(r"[{}@^_|]|%\w|  | [,.?]|,,|\bNone\b", text), text
        assert example.targets["es"].count("?") == example.targets["es"].count("¿")
        assert not re.search(r"\b(a|de) el\b", example.targets["es"])
        assert not re.search(r"\b(in|an|zu|von|bei) dem\b", example.targets["de"])


@pytest.mark.parametrize(
    ("code", "pattern"),
    [
        ("en", r"\b(the|my|our) \w+ that (he|she|they) "),  # in German *sie* would mean several
        ("en", r"^(Although|If) (it|they) (is|are|was|were) [^,]*, .* (buy|bought)"),  # who is cheap comes later
        ("en", r"for breakfast every (evening|night)"),
        ("en", r"It rains (today|at the moment)"),
        ("de", r"(Es|es) (regnete|schneite) gerade\b(?! stark)[.]"),
        ("de", r"nimmt gerade d"),
        ("de", r"Tassen? (ge)?waschen"),
        ("es", r"(?<!ha )roto\. (Tuv|\w+ tuvo que imprimir)"),
        ("es", r"está viajando a"),
        ("es", r"compañero de piso [a-z]+able\b"),
    ],
)
def test_kinds_of_odd_sentences_that_readers_found_do_not_come_back(examples, code, pattern):
    texts = [e.source if code == "en" else e.targets[code] for e in examples]
    assert not [text for text in texts if re.search(pattern, text)]


def test_all_domains_and_lengths_appear(examples):
    assert {example.domain for example in examples} == set(DOMAINS)
    lengths = [len(example.source.split()) for example in examples]
    assert min(lengths) < 5
    assert 50 < max(lengths) < 110
    questions = sum(example.source.endswith("?") for example in examples)
    assert 0.05 < questions / len(examples) < 0.2


def test_most_examples_are_distinct(examples):
    assert len({example.source for example in examples}) > 0.9 * len(examples)
    one_meaning = {(e.source, *e.targets.values()) for e in examples}
    assert len(one_meaning) < 1.01 * len({e.source for e in examples})


def test_share_of_paragraphs_is_a_parameter():
    def paragraphs(share):
        return sum(". " in e.source for e in islice(grammar.Grammar(1, share), 200))

    assert paragraphs(0) == 0
    assert paragraphs(1) > 190
    with pytest.raises(ValueError, match="paragraphs: must be between 0 and 1, got 2"):
        grammar.Grammar(1, 2)


def test_splits_share_no_sentence_and_pairs_alternate():
    made = {split: corpus.rows(split, 350, seed) for seed, split in enumerate(("train", "dev", "test"))}
    assert all(len({row["source"] for row in rows}) == 350 for rows in made.values())
    sentences = {
        split: {sentence for row in rows for sentence in re.split(r"(?<=[.?]) (?=[A-Z0-9])", row["source"])}
        for split, rows in made.items()
    }
    assert all(len(found) > 402 for found in sentences.values()), "paragraphs are among the rows"
    assert not sentences["train"] & sentences["test"]
    assert not sentences["train"] & sentences["dev"]
    assert not sentences["dev"] & sentences["test"]
    assert [row["target_lang"] for row in made["test"][:4]] == ["es", "de", "es", "de"]
    assert tuple(made["dev"][0]) == COLUMNS
    assert made["dev"][0]["id"] == "dev-1-000000"


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split: expected one of train, dev, test, got 'dve'"):
        next(grammar.examples("dve", 0))


def test_word_frequencies_are_zipfian(examples):
    counts = Counter(word for e in examples for word in re.findall(r"[\w']+", e.source.lower()))
    frequencies = np.array([count for _, count in counts.most_common(600)], dtype=float)
    slope = np.polyfit(np.log(np.arange(5, 601)), np.log(frequencies[4:]), 1)[0]
    assert -1.6 < slope < -0.8


def test_the_vocabulary_is_large():
    words = load_vocabulary()
    nouns = {noun.en for pool in words.nouns.values() for noun in pool.members}
    adjectives = {a.en for pool in (*words.adjectives.values(), *words.predicates.values()) for a in pool.members}
    assert len(nouns) > 550
    assert len(adjectives) > 80


def test_the_command_prints_three_lines_an_example(capsys):
    assert grammar.main(["--rows", "2", "--seed", "5"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_every_line_of_the_data_files_is_read():
    folder = resources.files("routelmt_ray.demo")
    lines = folder.joinpath("links.txt").read_text(encoding="utf-8").splitlines()
    links = [link for found in load_links().values() for link in found]
    assert len(links) == sum(" | " in line and not line.startswith("# ") for line in lines)
    flags = {flag for pool in load_frames().values() for frame in pool.members for flag in frame.flags}
    assert {link.topic for link in links} - {"any"} <= flags


def test_classes_of_slots_and_places_have_nouns():
    words = load_vocabulary().nouns
    for pool in load_frames().values():
        for frame in pool.members:
            kinds = {kind.partition("/")[0] for slot in frame.slots.values() for kind in slot} | set(
                frame.options.get("L", ())
            )
            assert kinds <= words.keys(), frame.key
