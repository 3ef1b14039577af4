"""Reads translations from generated tokens: finds the end of an answer, and removes reasoning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Completion
from routelmt_ray.engines.prompts import PromptFamily, control_tokens, load_family
from routelmt_ray.engines.tokenizers import prompt_encoder

_SENTINEL = "ROUTELMT-ANSWER"
_THINKING = (
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)  # fmt: skip
"""Marks that families of models put around their reasoning."""


@dataclass(frozen=True)
class AnswerReader:
    """Reads the answers of a model."""

    tokenizer: Any
    ends: frozenset[int]
    opened: bool
    """True where the prompt opens the reasoning, so that an answer begins inside it."""

    @classmethod
    def of(cls, config: ModelConfig, generation: Any) -> "AnswerReader":
        """Builds the reading of answers from the files of a model. Raises ValueError if no token ends its answers."""
        encoder = prompt_encoder(config)
        ends = end_tokens(generation, encoder.tokenizer, load_family(config.prompt))
        if not ends:
            raise ValueError(
                "no end token: neither generation_config.json nor the tokenizer names one, so no answer would end; set "
                "eos_token_id in its generation_config.json"
            )
        asked = encoder.closing.rstrip()
        return cls(encoder.tokenizer, ends, any(asked.endswith(begin) for begin, _ in _THINKING))

    def completion(self, ids: list[int], source: str) -> Completion:
        """Reads the answer from generated tokens, without reasoning and up to the first end token. `source` is the text
        to translate. Marks that it contains do not count as marks of reasoning."""
        end = next((i for i, token in enumerate(ids) if token in self.ends), None)
        answer = ids[:end]
        marks = self._marks(source)
        thinking = self._thinking(answer, marks)
        text = self._decode(answer[thinking:])
        if not thinking:
            text, thinking = self._without_reasoning(text, marks)
        tokens, finish = (len(ids), "length") if end is None else (end + 1, "stop")
        return Completion(text.strip(), tokens, finish, None, thinking)

    def from_text(self, text: str, tokens: int, finish: str, source: str, thinking: int) -> Completion:
        """Reads the answer of a server that gives no tokens, without reasoning. `thinking` is the number of tokens of
        reasoning that the server left out of the text."""
        text, more = self._without_reasoning(text.strip(), self._marks(source))
        return Completion(text.strip(), tokens, finish, None, thinking + more)

    def _marks(self, source: str) -> list[tuple[str, str]]:
        return [pair for pair in _THINKING if self.opened or not any(mark in source for mark in pair)]

    def _without_reasoning(self, text: str, marks: Sequence[tuple[str, str]]) -> tuple[str, int]:
        """The text after reasoning whose marks are plain letters, and the number of its tokens."""
        for begin, stop in marks:
            if text.startswith(begin) or (self.opened and stop in text):
                reasoning, _, text = text.partition(stop)
                return text, len(self.tokenizer(reasoning + stop, add_special_tokens=False)["input_ids"])
        return text, 0

    def _thinking(self, ids: Sequence[int], marks: Sequence[tuple[str, str]]) -> int:
        """Number of tokens of reasoning at the start of an answer, by marks that are tokens."""
        vocabulary = self.tokenizer.get_added_vocab()
        for begin, stop in marks:
            if stop in vocabulary and vocabulary[stop] in ids:
                return len(ids) - list(reversed(ids)).index(vocabulary[stop])
            if begin in vocabulary and vocabulary[begin] in ids[:3]:
                return len(ids)  # it was cut before its answer began
        if self.opened and not any(stop in self._decode(ids) for _, stop in marks):
            return len(ids)
        return 0

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()


def end_tokens(generation: Any, tokenizer: Any, family: PromptFamily) -> frozenset[int]:
    """Collects the tokens that end an answer. After fine-tuning, the files of a model often disagree, so all are used."""
    named = generation.eos_token_id
    ends = {named} if isinstance(named, int) else set(named or ())
    return frozenset({*ends, tokenizer.eos_token_id, _turn_end(tokenizer, family)} - {None})


def _turn_end(tokenizer: Any, family: PromptFamily) -> int | None:
    """The control token that the chat template puts after an answer; None where there is none."""
    if not family.chat:
        return None
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _SENTINEL}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, **family.chat_options)
    except Exception:  # a template may raise any exception; the other two sources then give the end tokens
        return None
    ids = tokenizer(text.rpartition(_SENTINEL)[2].lstrip(), add_special_tokens=False)["input_ids"]
    control = set(control_tokens(tokenizer).values()) - {tokenizer.unk_token_id, tokenizer.bos_token_id}
    return ids[0] if ids and ids[0] in control else None
