"""Prompt families as data, and the encoder that turns a row into the token ids of its prompt."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from routelmt_ray.corpus.languages import language_name

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
    shipped = resources.files("routelmt_ray") / "engines" / "templates" / f"{name}.yaml"
    is_path = name.endswith((".yaml", ".yml"))
    if not is_path and not shipped.is_file():
        known = sorted(item.name[:-5] for item in (resources.files("routelmt_ray") / "engines" / "templates").iterdir())
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

    What stands around the content comes from the chat template once. A prompt is tokenised whole, with all of it, so that the
    ids are those the model was trained on however its tokenizer joins text at the edges. Only where that gives another
    control token than the template has, as ``<|im_end|>`` inside a source would, the content is tokenised apart from
    the rest with special tokens split, so that it is plain text. Markers that a tokenizer does not call special, as
    ``<think>`` in the Qwen family, and those its model knows as words are cut in two where they stand in a text.
    """

    tokenizer: Any
    """The tokenizer."""
    closing: str
    """What stands after the content: the end of its turn, and the beginning of the answer's."""

    def __init__(self, tokenizer: Any, family: PromptFamily) -> None:
        """Args: a transformers tokenizer and the family.

        Raises:
            ValueError: the chat template leaves out what it is given.
        """
        self.tokenizer = tokenizer
        markers = control_tokens(tokenizer)
        self._control = frozenset(markers.values()) - {tokenizer.unk_token_id}
        self._marker = re.compile("|".join(map(re.escape, sorted(markers, key=len, reverse=True))) or "(?!)")
        self._opening, self.closing = self._around(family, _SENTINEL) if family.chat else ("", "")
        padded = self._around(family, f" {_SENTINEL} ") if family.chat else (" ", " ")
        self._trims_left, self._trims_right = padded[0] == self._opening, padded[1] == self.closing
        self._prefix = [] if family.chat else self._special_prefix()
        self._before = self._prefix + self._ids(self._opening, split=False)
        self._after = self._ids(self.closing, split=False)
        sample = self._opening + family.render("a", "English", "German") + self.closing
        self._expected = self._controls(self._prefix + self._ids(sample, split=False))

    def _around(self, family: PromptFamily, content: str) -> tuple[str, str]:
        """What the chat template puts before and after a content, blanks around the sentinel in it included."""
        whole = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, **family.chat_options
        )
        before, found, after = whole.partition(_SENTINEL)
        if not found:
            raise ValueError(f"the chat template of {self.tokenizer.name_or_path} does not contain the user's text")
        return before, after

    def _special_prefix(self) -> list[int]:
        """Tokens that the tokenizer puts before any text, such as the beginning of a sequence."""
        with_special = list(self.tokenizer("a")["input_ids"])
        plain = self._ids("a", split=False)
        at = next((i for i in range(len(with_special)) if with_special[i : i + len(plain)] == plain), 0)
        return with_special[:at]

    def _ids(self, text: str, split: bool) -> list[int]:
        if not text:
            return []
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=split)["input_ids"])

    def _controls(self, ids: Sequence[int]) -> list[int]:
        return [token for token in ids if token in self._control]

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token."""
        return max(map(len, self.tokenizer.get_vocab()))

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text alone, without a prompt around it."""
        if not texts:
            return []
        ids = self.tokenizer(
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
        found = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        return [end for _, end in found["offset_mapping"]]

    def encode(self, contents: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        return [ids for ids, _ in self._encoded(contents, offsets=False)]

    def spans(self, contents: Sequence[str], parts: Sequence[tuple[int, int]]) -> list[tuple[list[int], range] | None]:
        """Token ids of each prompt, and which of them a part of its content has become.

        Args:
            contents: rendered prompts.
            parts: start and end of a part of each, in characters.

        Returns:
            None where the content has markers in it, or the part no token.
        """
        found: list[tuple[list[int], range] | None] = []
        for content, (start, stop), (ids, offsets) in zip(contents, parts, self._encoded(contents, offsets=True)):
            trimmed = len(content) - len(content.lstrip()) if self._trims_left else 0
            start, stop = (at - trimmed + len(self._opening) for at in (start, stop))
            inside = [i for i, (a, b) in enumerate(offsets or ()) if a < stop and b > start and b > a]
            skip = len(self._prefix)
            found.append((ids, range(skip + inside[0], skip + inside[-1] + 1)) if inside else None)
        return found

    def _encoded(
        self, contents: Sequence[str], offsets: bool
    ) -> Iterator[tuple[list[int], Sequence[tuple[int, int]] | None]]:
        """Token ids of each prompt and, where it was tokenised whole, where in the rendered text each but the prefix is."""
        if not contents:
            return
        kept = [content.lstrip() if self._trims_left else content for content in contents]
        kept = [content.rstrip() if self._trims_right else content for content in kept]
        whole = self.tokenizer(
            [self._opening + content + self.closing for content in kept],
            add_special_tokens=False,
            split_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            return_offsets_mapping=offsets,
            verbose=False,
        )
        places = whole["offset_mapping"] if offsets else [None] * len(kept)
        for content, row, at in zip(kept, whole["input_ids"], places):
            ids = [*self._prefix, *row]
            if self._controls(ids) == self._expected:
                yield ids, at
            else:
                yield self._before + self.tokens([content])[0] + self._after, None

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
