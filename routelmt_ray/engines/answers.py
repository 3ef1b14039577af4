"""Reads answers from the tokens a model generates: where they end, and what of them is reasoning and no translation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Completion
from routelmt_ray.engines.prompts import PromptFamily, control_tokens, load_family
from routelmt_ray.engines.tokenizers import prompt_encoder

_SENTINEL = "ROUTELMT-ANSWER"
_THINKING = (
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)  # fmt: skip
"""Marks of families of models around their reasoning."""


@dataclass(frozen=True)
class Reading:
    """Reads the answers of a model."""

    tokenizer: Any
    """Its tokenizer."""
    ends: frozenset[int]
    """Tokens that end an answer."""
    opened: bool
    """The prompt itself opens the reasoning, so that an answer begins inside it."""

    @classmethod
    def of(cls, config: ModelConfig, generation: GenerationConfig) -> "Reading":
        """Looks at a model's files.

        Args:
            config: the model.
            generation: what its files say of generation.

        Raises:
            ValueError: nothing says how its answers end.
        """
        encoder = prompt_encoder(config)
        ends = end_tokens(generation, encoder.tokenizer, load_family(config.prompt))
        if not ends:
            raise ValueError(
                "no end token: neither generation_config.json nor the tokenizer names one, so that no answer would end; set "
                "eos_token_id in its generation_config.json"
            )
        asked = encoder.closing.rstrip()
        return cls(encoder.tokenizer, ends, any(asked.endswith(begin) for begin, _ in _THINKING))

    def completion(self, ids: list[int], source: str) -> Completion:
        """Reads the answer in generated tokens; what follows the first end token is left out, and so is reasoning.

        Args:
            ids: generated tokens.
            source: the text that was to be translated: marks of reasoning that it has itself are no reasoning.
        """
        end = next((i for i, token in enumerate(ids) if token in self.ends), None)
        answer = ids[:end]
        marks = [pair for pair in _THINKING if self.opened or not any(mark in source for mark in pair)]
        thinking = self._thinking(answer, marks)
        text = self._decode(answer[thinking:])
        for begin, stop in marks:  # marks that are no tokens but letters
            if not thinking and (text.startswith(begin) or (self.opened and stop in text)):
                reasoning, _, text = text.partition(stop)
                thinking = len(self.tokenizer(reasoning + stop, add_special_tokens=False)["input_ids"])
        tokens, finish = (len(ids), "length") if end is None else (end + 1, "stop")
        return Completion(text.strip(), tokens, finish, None, thinking)

    def _thinking(self, ids: Sequence[int], marks: Sequence[tuple[str, str]]) -> int:
        """Counts the tokens of reasoning that an answer begins with, by marks that are tokens."""
        vocabulary = self.tokenizer.get_added_vocab()
        for begin, stop in marks:
            if stop in vocabulary and vocabulary[stop] in ids:
                return len(ids) - list(reversed(ids)).index(vocabulary[stop])
            if begin in vocabulary and vocabulary[begin] in ids[:3]:
                return len(ids)  # it was cut before it came to an answer
        if self.opened and not any(stop in self._decode(ids) for _, stop in marks):
            return len(ids)
        return 0

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()


def end_tokens(generation: GenerationConfig, tokenizer: Any, family: PromptFamily) -> frozenset[int]:
    """Collects the tokens that end an answer: after fine-tuning a model's files often disagree on it, so that any of them does.

    Args:
        generation: what the model's files say of generation.
        tokenizer: its tokenizer.
        family: how it is asked.
    """
    named = generation.eos_token_id
    ends = {named} if isinstance(named, int) else set(named or ())
    return frozenset({*ends, tokenizer.eos_token_id, _turn_end(tokenizer, family)} - {None})


def _turn_end(tokenizer: Any, family: PromptFamily) -> int | None:
    """Finds the control token that the chat template puts after an answer; None where there is none."""
    if not family.chat:
        return None
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _SENTINEL}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, **family.chat_options)
    except Exception:  # a template may refuse what it likes; the other two then say where an answer ends
        return None
    ids = tokenizer(text.rpartition(_SENTINEL)[2].lstrip(), add_special_tokens=False)["input_ids"]
    control = set(control_tokens(tokenizer).values()) - {tokenizer.unk_token_id, tokenizer.bos_token_id}
    return ids[0] if ids and ids[0] in control else None
