"""Reads prompt families, and turns a row into the token ids of its prompt."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from routelmt_ray.corpus.languages import language_name

_PLACEHOLDER = re.compile(r"\{(src|tgt|text|terms)\}")
_SENTINEL = "ROUTELMT-CONTENT"
Terms = Sequence[tuple[str, str]]
"""Terms of a glossary that a text has, each with its wanted translation."""
_BRACKETED = re.compile(r"<.+>|\[.+\]", re.DOTALL)


@dataclass(frozen=True)
class PromptFamily:
    """The form in which one family of models is asked for a translation."""

    name: str
    """Family name, or the path of the file it was read from."""
    template: str
    """Text with {src}, {tgt} (English language names) and {text}."""
    chat: bool
    """True where the text is one user turn in the chat template of the model, with the generation prompt."""
    language_names: dict[str, str] = field(default_factory=dict)
    """English language names by standard code, where they differ from the usual ones."""
    chat_options: dict[str, Any] = field(default_factory=dict)
    """Variables of the chat template, e.g. ``enable_thinking: false``."""
    with_terms: str = ""
    """Template for a text that has terms of a glossary, with {terms} in addition; empty where the family has none."""

    def render(self, text: str, source_name: str, target_name: str, terms: Terms = ()) -> str:
        """Fills the template, or that with terms. Placeholders inside ``text`` stay as they are."""
        listed = "\n".join(f"{source} = {target}" for source, target in terms)
        values = {"src": source_name, "tgt": target_name, "text": text, "terms": listed}
        return _PLACEHOLDER.sub(lambda match: values[match[1]], (terms and self.with_terms) or self.template)

    def names(self, source: str, target: str) -> tuple[str | None, str | None]:
        """Finds the English names of two language codes; None where a code is unknown."""
        return language_name(source, self.language_names), language_name(target, self.language_names)

    def digest(self) -> str:
        """Computes a short hash of all that affects a prompt without terms. A trained router works only with the same hash."""
        spec = {
            "template": self.template,
            "chat": self.chat,
            "names": self.language_names,
            "options": self.chat_options,
        }
        return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def load_family(name: str) -> PromptFamily:
    """Reads a prompt family of the package by name, or one of the user by path. Raises ValueError if there is no such
    family, or its file does not have the right form."""
    shipped = resources.files("routelmt_ray") / "engines" / "templates" / f"{name}.yaml"
    is_path = name.endswith((".yaml", ".yml"))
    if not is_path and not shipped.is_file():
        known = sorted(item.name[:-5] for item in (resources.files("routelmt_ray") / "engines" / "templates").iterdir())
        raise ValueError(f"prompt family {name!r} is neither one of {', '.join(known)} nor the path of a .yaml file")
    try:
        return _family(name, Path(name).read_text("utf-8") if is_path else shipped.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"prompt family {name}: {error}") from None


@lru_cache
def _family(name: str, written: str) -> PromptFamily:
    """Checks the text of a family's file. Every shard asks for its family, and reading YAML takes milliseconds."""
    spec, texts = yaml.safe_load(written), yaml.load(written, yaml.BaseLoader)
    allowed = {"template", "with_terms", "chat", "language_names", "chat_options"}
    if not isinstance(spec, dict) or not isinstance(spec.get("template"), str) or set(spec) - allowed:
        raise ValueError(f"prompt family {name}: must be a mapping with `template` and no keys but {sorted(allowed)}")
    if "{text}" not in spec["template"]:
        raise ValueError(f"prompt family {name}: `template` must contain {{text}}")
    with_terms = spec.get("with_terms") or ""
    if "{terms}" in spec["template"]:
        raise ValueError(f"prompt family {name}: `template` contains {{terms}}; write a second template, `with_terms`")
    if with_terms and not (isinstance(with_terms, str) and "{text}" in with_terms and "{terms}" in with_terms):
        raise ValueError(f"prompt family {name}: `with_terms` must be a text that contains {{text}} and {{terms}}")
    return PromptFamily(
        name,
        spec["template"],
        bool(spec.get("chat", True)),
        texts["language_names"] if spec.get("language_names") else {},  # the code `no` stays text
        spec.get("chat_options") or {},
        with_terms,
    )


class PromptEncoder:
    """Turns rendered prompts into token ids; user text can never become a control token.

    The text around the content is taken from the chat template once. A prompt is tokenised as a whole, so that the ids
    are those of the training, also where a tokenizer joins text at the edges. This may give other control tokens than
    the template has, e.g. for ``<|im_end|>`` inside a source. Only then the content is tokenised apart from the rest,
    with special tokens split, so that it is plain text. Some markers are not special for a tokenizer, as ``<think>`` in
    the Qwen family, or are words of the vocabulary. They are cut in two where they occur in a text.
    """

    tokenizer: Any
    closing: str
    """Text after the content: the end of its turn, and the beginning of the turn of the answer."""

    def __init__(self, tokenizer: Any, family: PromptFamily) -> None:
        """Args: tokenizer: a transformers tokenizer; family: the prompt family. Raises ValueError if the chat template
        leaves out the text of the user, or `with_terms` has other control tokens."""
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
        if family.with_terms and self._marker.findall(family.with_terms) != self._marker.findall(family.template):
            raise ValueError(f"prompt family {family.name}: `with_terms` must have the control tokens of `template`")
        sample = self._opening + family.render("a", "English", "German") + self.closing
        self._expected = self._controls(self._prefix + self._ids(sample, split=False))

    def _around(self, family: PromptFamily, content: str) -> tuple[str, str]:
        """The text that the chat template puts before and after a content, with the blanks around its sentinel."""
        whole = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, **family.chat_options
        )
        before, found, after = whole.partition(_SENTINEL)
        if not found:
            raise ValueError(
                f"the chat template of {self.tokenizer.name_or_path} leaves out the user's text; use a prompt family with `chat: false`"
            )
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
        return list(self._tokenized(text, split)["input_ids"])

    def _tokenized(self, texts: str | list[str], split: bool, **options: Any) -> Any:
        return self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=split, return_attention_mask=False,
            return_token_type_ids=False, **options,
        )  # fmt: skip

    def _controls(self, ids: Sequence[int]) -> list[int]:
        return [token for token in ids if token in self._control]

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token."""
        return max(map(len, self.tokenizer.get_vocab()))

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenises each text alone, without a prompt around it. No control token results."""
        if not texts:
            return []
        ids = self._tokenized(list(texts), split=True)["input_ids"]
        return [list(row) if self._control.isdisjoint(row) else self._harmless(text) for row, text in zip(ids, texts)]

    def _harmless(self, text: str) -> list[int]:
        """Token ids of a text with its markers cut in two, so that they are read as letters."""
        ids = [token for part in _halves(text, self._marker) for token in self._ids(part, split=True)]
        if self._control.isdisjoint(ids):
            return ids
        # A normaliser made a marker from other characters. It cannot make a longer marker from one character alone.
        ids = [token for character in text for token in self._ids(character, split=True)]
        return [token for token in ids if token not in self._control]

    def ends(self, text: str) -> list[int]:
        """Finds the end of each token of a text alone, in characters."""
        found = self._tokenized(text, split=True, return_offsets_mapping=True, verbose=False)
        return [end for _, end in found["offset_mapping"]]

    def encode(self, contents: Sequence[str]) -> list[list[int]]:
        """Tokenises each prompt, with the chat template around its content."""
        return [ids for ids, _ in self._encoded(contents, offsets=False)]

    def spans(self, contents: Sequence[str], parts: Sequence[tuple[int, int]]) -> list[tuple[list[int], range] | None]:
        """Tokenises each prompt, and finds the tokens that belong to a part of its content, from a start to an end in
        characters. Returns token ids and the range of the part; None where the content has markers, or the part has no
        token."""
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
        """Token ids of each prompt and, where it was tokenised whole, their places in its text, without the prefix."""
        if not contents:
            return
        kept = [content.lstrip() if self._trims_left else content for content in contents]
        kept = [content.rstrip() if self._trims_right else content for content in kept]
        prompts = [self._opening + content + self.closing for content in kept]
        whole = self._tokenized(prompts, split=False, return_offsets_mapping=offsets, verbose=False)
        places = whole["offset_mapping"] if offsets else [None] * len(kept)
        for content, row, at in zip(kept, whole["input_ids"], places):
            ids = [*self._prefix, *row]
            if self._controls(ids) == self._expected:
                yield ids, at
            else:
                yield self._before + self.tokens([content])[0] + self._after, None

    def count_prompt(self, content: str) -> int:
        """Counts the tokens of one prompt."""
        return len(self.encode([content])[0])

    def count(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text alone."""
        return [len(ids) for ids in self.tokens(texts)]


def control_tokens(tokenizer: Any) -> dict[str, int]:
    """Finds the control tokens: special ones of a tokenizer, and added ones in brackets, such as ``<think>``."""
    added = {token.content: (number, token.special) for number, token in tokenizer.added_tokens_decoder.items()}
    found = {text: number for text, (number, special) in added.items() if special or _BRACKETED.fullmatch(text)}
    return found | dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids))


def _halves(text: str, marker: re.Pattern[str]) -> list[str]:
    """The parts of a text, cut so that none contains a marker of more than one character."""
    parts = [text]
    while True:
        finer = [half for part in parts for half in _cut(part, marker)]
        if len(finer) == len(parts):
            return parts
        parts = finer  # a part may still hold a marker that overlapped another one


def _cut(text: str, marker: re.Pattern[str]) -> list[str]:
    middles = [(m.start() + m.end()) // 2 for m in marker.finditer(text) if len(m[0]) > 1]
    return [text[start:end] for start, end in zip([0, *middles], [*middles, len(text)])]
