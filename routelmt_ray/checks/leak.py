"""Checks whether a translation contains text that is not part of it: control tokens, the prompt, remarks, second
answers.

What the source has too is a part of the text and does not count.
"""

import re
from functools import lru_cache

from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding

_CONTROL = re.compile(
    r"""<\|[^|<>\s]{1,40}\|>                                   # <|im_end|>
    | </?s> | <(?:pad|unk|bos|eos|mask|sep|cls)> | \[/?INST\] | <</?SYS>>
    | </?(?:start_of_turn|end_of_turn|think|thinking|translation|answer|output)>
    | <0x[0-9A-F]{2}> | ▁ | Ġ(?=\w) | <extra_id_\d+>""",
    re.VERBOSE,
)
_ROLE = re.compile(
    r"(?mi)^\W{0,4}(?:assistant|user|system|human|model|response|instruction|input|output|source|target)\W{0,3}:"
)
_MARKED = re.compile(r"[<\[▁Ġ]")
_TALK = re.compile(
    r"""(?i)(?:
    (?:sure|certainly|of\ course|okay)\b[^\n]{0,60}(?:translat|:)
    | (?:here(?:\ is|['’]s|\ are)|below\ is|this\ is|the)\b[^\n]{0,40}\btranslat(?:ion|ed)\b[^\n]{0,60}(?::|\bis\b)
    | (?:the\ )?translat(?:ion|ed\ text)\b[^\n:]{0,40}:
    | i(?:['’]m|\ am)\ sorry,?\ (?:but\ )?(?:as\ an\ ai|i\ (?:can['’]t|cannot|can\ not|am\ (?:not\ able|unable))\b[^\n]{0,40}\b(?:translat|assist|help))
    | as\ an\ ai\b
    | hier\ ist\ (?:die|eine|deine|ihre)\b[^\n]{0,30}übersetzung[^\n]{0,40}: | (?:die\ )?übersetzung\b[^\n:]{0,30}:
    | voici\b[^\n]{0,30}traduction[^\n]{0,40}: | (?:la\ )?traduction\b[^\n:]{0,30}:
    | aqu[ií]\ (?:est[áa]|tienes?)\b[^\n]{0,30}traducción[^\n]{0,40}: | (?:la\ )?traducción\b[^\n:]{0,30}:
    | ecco\b[^\n]{0,30}traduzione[^\n]{0,40}: | (?:la\ )?traduzione\b[^\n:]{0,30}:
    | aqui\ está\b[^\n]{0,30}tradução[^\n]{0,40}: | (?:a\ )?tradução\b[^\n:]{0,30}:
    | (?:hier\ is\b[^\n]{0,30})?vertaling\b[^\n:]{0,30}:
    | (?:вот\ )?перевод\b[^\n:]{0,30}: | (?:ось\ )?переклад\b[^\n:]{0,30}:
    | (?:以下是)?[^\n：:]{0,12}(?:翻译|翻譯|译文|翻訳|和訳)[^\n：:]{0,8}[：:] | 번역[^\n:]{0,8}: | (?:الترجمة|ترجمة)[^\n:]{0,30}:
    | (?:işte\ )?çeviri\b[^\n:]{0,30}: | (?:oto\ )?tłumaczenie\b[^\n:]{0,30}: | अनुवाद[^\n:]{0,20}: | bản\ dịch\b[^\n:]{0,20}:
    )""",
    re.VERBOSE,
)
_AFTERWORD = re.compile(
    r"""(?ix)(?:^|[\n.!?…])[\s(\[*]{0,8}
    (?:note|explanation|translator['’]s\ note|alternative(?:ly|\ translation)?|literal(?:ly|\ translation)?|or\ more\ formally|another\ (?:option|translation)
    |i\ hope\ this\ helps|let\ me\ know\ if|anmerkung|hinweis|erklärung|nota|remarque|explication|примечание|注意|注|说明|説明|ملاحظة)\b[\s*]{0,4}(?::|：|,\ |would|if\ you)"""
)
_FEWEST_WORDS = 4
"""A line of a prompt with fewer words may be in a translation by chance."""


@lru_cache(maxsize=4096)
def prompt_parts(prompt: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lists the sentences of a prompt, and the labels with a colon, in lower case."""
    parts = [part.strip().casefold() for part in re.split(r"[\n.]", prompt)]
    labels = [part for part in parts if part.endswith((":", "："))]
    return tuple(p for p in parts if len(p.split()) >= _FEWEST_WORDS), tuple(labels)


def _own(pattern: re.Pattern[str], output: CheckedOutput) -> list[str]:
    """Lists the matches of a pattern that only the translation has."""
    return [m[0].strip() for m in pattern.finditer(output.translation) if m[0].strip() not in output.source]


def leaks(output: CheckedOutput) -> list[str]:
    """Lists what does not belong into a translation, in words."""
    text, source = output.translation, output.source
    found = []
    if _MARKED.search(text):
        found += [f"control token {token!r}" for token in _own(_CONTROL, output)]
    lower = text.casefold()
    sentences, labels = prompt_parts(output.prompt)
    found += ["text of the prompt" for part in sentences if part in lower and part not in source.casefold()]
    if ":" in text or "：" in text or len(text) > 2 * len(source):
        start = lower.lstrip(" *\"'“")
        found += [f"label {label!r}" for label in labels if start.startswith(label) and label not in source.casefold()]
        found += [f"role {role!r}" for role in _own(_ROLE, output) if ":" not in source and "：" not in source]
        talk = _TALK.match(text.lstrip(" *\"'“「(["))
        if talk and not (_TALK.match(source.lstrip(" *\"'“「([")) or ":" in source or "：" in source):
            found.append(f"introduction {talk[0]!r}")
    if "\n" in text or len(text) > 1.5 * len(source):
        found += [f"remark {words!r}" for words in _own(_AFTERWORD, output) if not _AFTERWORD.search(source)]
    if "\n" in text and (more := paragraphs(text) - paragraphs(source)) > 0:
        found.append(f"{more} more paragraph{'s' if more > 1 else ''} than the source")
    return found


def paragraphs(text: str) -> int:
    """Counts the parts of a text between empty lines."""
    return len([part for part in re.split(r"\n[ \t]*\n", text) if part.strip()])


def open_check(plan: CheckPlan) -> Check:
    """Opens the check."""

    def check(output: CheckedOutput) -> Finding:
        found = leaks(output)
        return Finding(float(len(found)), bool(found), ", ".join(found[:3])[:200])

    return check
