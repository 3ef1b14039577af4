"""Knows secrets by their name or form, so that none is written where a configuration or a message goes."""

import re
from collections.abc import Iterator
from typing import Any

_NAME = re.compile(
    r"(.*[_-])?(token|key|apikey|accesstoken|secret|password|passwd|credentials?|auth|authorization)", re.IGNORECASE
)
_VALUE = re.compile(r"(hf_|sk-|ghp_|AKIA|Bearer )[\w-]{8,}.*")
_IN_ADDRESS = re.compile(r"[^/@\s,\[\]=]+(?=@)|(?<=\?)[^\s,\]]+")


def secrets(name: str, value: Any) -> Iterator[str]:
    """Finds the names of arguments that hold a secret, known by name or by value, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from secrets(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets(name, item)
    elif isinstance(value, str) and (_NAME.fullmatch(name.rpartition(".")[2]) or _VALUE.fullmatch(value)):
        yield name


def hidden(word: str) -> str:
    """Removes a secret from a word `key=value` of a command line, for messages: the value, or a part of an address in it."""
    key, equals, value = word.partition("=")
    if equals and any(secrets(key, value)):
        return f"{key}=***"
    return _IN_ADDRESS.sub("***", word) if key.endswith("urls") else word
