"""Prompt families as data, and the encoder that turns a row into the token ids of its prompt."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from routelmt_ray.languages import language_name

_PLACEHOLDER = re.compile(r"\{(src|tgt|text)\}")
_SENTINEL = "ROUTELMT-CONTENT"
_BRACKETED = re.compile(r"<.+>|\[.+\]", re.DOTALL)


@dataclass(frozen=True)
class PromptFamily:
    """How one family of models is asked for a translation."""

    name: str
    """Family name, or the path of the file it was read from."""
    template: str
    """Text with {src}, {tgt} (English language names) and {text}."""
    chat: bool
    """True: the text is one user turn of the model's chat template, generation prompt added."""
    language_names: dict[str, str] = field(default_factory=dict)
    """English names by standard code, where they differ from the usual ones."""
    chat_options: dict[str, Any] = field(default_factory=dict)
    """Variables handed to the chat template, e.g. ``enable_thinking: false``."""

    def render(self, text: str, source_name: str, target_name: str) -> str:
        """The text of the prompt. Placeholders inside ``text`` stay as they are."""
        values = {"src": source_name, "tgt": target_name, "text": text}
        return _PLACEHOLDER.sub(lambda match: values[match[1]], self.template)

    def names(self, source: str, target: str) -> tuple[str | None, str | None]:
        """English names of two language codes; None where a code is unknown."""
        return language_name(source, self.language_names), language_name(target, self.language_names)

    def digest(self) -> str:
        """A short hash of all that shapes the prompt: what a trained router is bound to."""
        spec = {
            "template": self.template,
            "chat": self.chat,
            "names": self.language_names,
            "options": self.chat_options,
        }
        return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def load_family(name: str) -> PromptFamily:
    """Reads a prompt family shipped with the package, or one of the user's own by path.

    Raises:
        ValueError: no such family, or its file is not of the form ``template``, ``chat``, ``language_names``.
    """
    shipped = resources.files("routelmt_ray") / "templates" / f"{name}.yaml"
    is_path = name.endswith((".yaml", ".yml"))
    if not is_path and not shipped.is_file():
        known = sorted(item.name[:-5] for item in (resources.files("routelmt_ray") / "templates").iterdir())
        raise ValueError(f"prompt family {name!r} is not one of {', '.join(known)}, nor the path of a .yaml file")
    try:
        written = Path(name).read_text("utf-8") if is_path else shipped.read_text("utf-8")
        spec, texts = yaml.safe_load(written), yaml.load(written, yaml.BaseLoader)
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"prompt family {name}: {error}") from None
    allowed = {"template", "chat", "language_names", "chat_options"}
    if not isinstance(spec, dict) or not isinstance(spec.get("template"), str) or set(spec) - allowed:
        raise ValueError(f"prompt family {name}: must be a mapping with `template` and no keys but {sorted(allowed)}")
    if "{text}" not in spec["template"]:
        raise ValueError(f"prompt family {name}: `template` must contain {{text}}")
    return PromptFamily(
        name,
        spec["template"],
        bool(spec.get("chat", True)),
        texts["language_names"] if spec.get("language_names") else {},  # not false for no
        spec.get("chat_options") or {},
    )


class PromptEncoder:
    """Turns rendered prompts into token ids; user text can never become a control token.

    The turn markers around the content come from the chat template once; the content is tokenised apart from them with
    special tokens split, so that ``<|im_end|>`` inside a source is plain text. Markers that a tokenizer does not call
    special, as ``<think>`` in the Qwen family, and those its model knows as words are cut in two where they stand in a
    text. Chat templates of the Qwen family break tokens at the turn markers, so for ordinary text the ids equal those of
    the template rendered whole.
    """

    def __init__(self, tokenizer: Any, family: PromptFamily) -> None:
        """Args: a transformers tokenizer and the family."""
        self._tokenizer = tokenizer
        before = after = ""
        if family.chat:
            whole = tokenizer.apply_chat_template(
                [{"role": "user", "content": _SENTINEL}],
                tokenize=False,
                add_generation_prompt=True,
                **family.chat_options,
            )
            before, found, after = whole.partition(_SENTINEL)
            if not found:
                raise ValueError(f"the chat template of {tokenizer.name_or_path} does not contain the user's text")
        self._before = self._ids(before, split=False) if before else []
        self._after = self._ids(after, split=False) if after else []
        if not family.chat and getattr(tokenizer, "add_bos_token", False) and tokenizer.bos_token_id is not None:
            self._before = [tokenizer.bos_token_id]
        markers = control_tokens(tokenizer)
        self._control = frozenset(markers.values()) - {tokenizer.unk_token_id}
        self._marker = re.compile("|".join(map(re.escape, sorted(markers, key=len, reverse=True))) or "(?!)")

    def _ids(self, text: str, split: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False, split_special_tokens=split)["input_ids"])

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token."""
        return max(map(len, self._tokenizer.get_vocab()))

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text alone, without a prompt around it."""
        if not texts:
            return []
        ids = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        return [list(row) if self._control.isdisjoint(row) else self._harmless(text) for row, text in zip(ids, texts)]

    def _harmless(self, text: str) -> list[int]:
        """Token ids of a text whose markers are cut in two, so that they are read as letters."""
        ids = [token for part in _halves(text, self._marker) for token in self._ids(part, split=True)]
        if self._control.isdisjoint(ids):
            return ids
        # A normaliser made a marker of other characters; of one alone it makes none that is longer than one.
        ids = [token for character in text for token in self._ids(character, split=True)]
        return [token for token in ids if token not in self._control]

    def ends(self, text: str) -> list[int]:
        """End of each token of a text alone, in characters."""
        found = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        return [end for _, end in found["offset_mapping"]]

    def encode(self, contents: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        return [self._before + body + self._after for body in self.tokens(contents)]

    def count_prompt(self, content: str) -> int:
        """Tokens of one prompt."""
        return len(self.encode([content])[0])

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text alone."""
        return [len(ids) for ids in self.tokens(texts)]


def control_tokens(tokenizer: Any) -> dict[str, int]:
    """Tokens that are no part of a text: those a tokenizer calls special, and added ones in brackets like ``<think>``."""
    added = {token.content: (number, token.special) for number, token in tokenizer.added_tokens_decoder.items()}
    found = {text: number for text, (number, special) in added.items() if special or _BRACKETED.fullmatch(text)}
    return found | dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids))


def _halves(text: str, marker: re.Pattern[str]) -> list[str]:
    """A text in parts, none of which has a marker of more than one character in it."""
    parts = [text]
    while True:
        finer = [half for part in parts for half in _cut(part, marker)]
        if len(finer) == len(parts):
            return parts
        parts = finer  # a part may still hold a marker that overlapped another one


def _cut(text: str, marker: re.Pattern[str]) -> list[str]:
    middles = [(m.start() + m.end()) // 2 for m in marker.finditer(text) if len(m[0]) > 1]
    return [text[start:end] for start, end in zip([0, *middles], [*middles, len(text)])]
