"""The training of the embedded pair."""

import re
from dataclasses import replace
from itertools import islice

import pytest
import torch
from tokenizers import Tokenizer

from routelmt_ray.demo import grammar, train_pair
from routelmt_ray.demo import tokenizer as demo_tokenizer
from routelmt_ray.demo.grammar import split_of
from routelmt_ray.demo.tokenizer import PAD
from tests.conftest import DEMO

POOL = 32
"""Batches that are drawn and sorted by length together."""
SEEN = 900
TINY = replace(train_pair.RECIPES["small"], hidden=32, layers=1, feed_forward=32, steps=3, batch=8)


@pytest.fixture(scope="module", autouse=True)
def tokenizer():
    """Gives the tokenizer as shipped, which takes no time; `test_tokenizer.py` checks that it is the one that is built."""
    shipped = Tokenizer.from_file(str(DEMO / "models" / "small" / "tokenizer.json"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_tokenizer, "_trained", shipped.to_str)
        yield demo_tokenizer.build_tokenizer()


@pytest.fixture(scope="module")
def batches(tokenizer):
    return list(islice(train_pair.batches(TINY, tokenizer), POOL))


def rows_of(batches, tokenizer):
    """Finds source, target language and answer of each row of batches."""
    names = {name: code for code, name in grammar.LANGUAGE_NAMES.items()}
    for ids, target in batches:
        for row, mask in zip(ids, target):
            asked = tokenizer.decode(row[: int(mask.nonzero()[0])].tolist())
            name, _, source = asked.removeprefix("user\n").removesuffix("\nassistant\n").partition(": ")
            yield source, names[name], tokenizer.decode(row[mask].tolist())


def test_rows_are_of_the_train_split_and_answers_are_their_translations(batches, tokenizer):
    examples = {e.source: e for e in islice(grammar.examples("train", TINY.seed), POOL * TINY.batch)}
    found = list(rows_of(batches, tokenizer))
    assert len({source for source, _, _ in found}) == len(found)
    sentences = {sentence for source, _, _ in found for sentence in re.split(r"(?<=[.?]) (?=[A-Z0-9])", source)}
    assert {split_of(sentence) for sentence in sentences} == {"train"}
    assert all(examples[source].targets[code] == answer for source, code, answer in found)
    assert 0.4 < sum(code == "es" for _, code, _ in found) / len(found) < 0.6
    assert 0.15 < sum(". " in source for source, _, _ in found) / len(found) < 0.35


def test_the_large_model_hardly_sees_the_nouns_of_its_corner():
    corner = train_pair.corner_words()
    assert 40 < len(corner) < 100

    def share(found):
        return sum(not corner.isdisjoint(re.findall(r"\w+", example.source)) for example in found) / SEEN

    all_rows, seen = (
        share(islice(train_pair.training_examples(train_pair.RECIPES[size]), SEEN)) for size in ("small", "large")
    )
    assert 0.04 < all_rows < 0.15
    assert 0 < seen < 0.01


def test_rows_of_a_batch_have_similar_lengths(batches, tokenizer):
    pad = tokenizer.token_to_id(PAD)
    assert sum(int((ids == pad).sum()) for ids, _ in batches) < 0.1 * sum(ids.numel() for ids, _ in batches)


def test_padding_does_not_change_the_loss(batches, tokenizer):
    model = train_pair.new_model(TINY, tokenizer)
    ids, target = batches[0]
    wider = torch.nn.functional.pad(ids, (0, 9)), torch.nn.functional.pad(target, (0, 9))
    assert train_pair.loss_of(model, ids, target).item() == pytest.approx(
        train_pair.loss_of(model, *wider).item(), rel=1e-2
    )


def test_the_same_seed_gives_the_same_model(tmp_path):
    for name in ("one", "two"):
        train_pair.train(TINY, tmp_path / name)
    one, two = (sorted((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert [file.name for file in one] == [file.name for file in two]
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]
