"""Keeps text values of a configuration as they were written, also where YAML reads another type.

YAML reads ``no`` as false, ``007`` as 7 and ``2024_05`` as 202405. The types of the keys tell which of them are text.
"""

import dataclasses
import functools
import math
import os
import re
import types
import typing
from typing import Any

import yaml

_HOME = re.compile(r"~[\w.-]*/")
_TEXT_TAG, _NULL_TAG, _MERGE_TAG = (f"tag:yaml.org,2002:{name}" for name in ("str", "null", "merge"))
_NULL = ("", "~", "null", "Null", "NULL")


@functools.cache
def _hints(schema: typing.Hashable) -> dict[str, Any]:
    return typing.get_type_hints(typing.cast(type, schema))


def type_of(schema: type, key: str) -> Any:
    """Finds the type of a dotted key, such as ``input.columns.source``, without its ``| None``; None for a key that
    does not exist."""
    hint: Any = schema
    for name in key.split("."):
        if dataclasses.is_dataclass(hint):
            hint = _hints(typing.cast(type, hint)).get(name)
        elif typing.get_origin(hint) is dict:
            hint = typing.get_args(hint)[1]
        else:
            return None
        hint = _present(hint)
    return hint


def is_optional(schema: type, key: str) -> bool:
    """Tells whether a key of a dataclass may be null."""
    above, _, name = key.rpartition(".")
    owner = type_of(schema, above) if above else schema
    return dataclasses.is_dataclass(owner) and type(None) in typing.get_args(_hints(typing.cast(type, owner))[name])


def read_text(word: str, optional: bool) -> str | None:
    """Reads a text value of the command line: as it was written, or what is between its quotes; null gives None. If the
    value may be null, an empty word is null as well as ``~`` and ``null``. Raises yaml.YAMLError if quotes are not
    closed."""
    word = word.strip()
    if word in _NULL and (optional or word):
        return None
    if word[:1] in ("'", '"'):
        return str(yaml.load(word, yaml.BaseLoader))
    return word


def quote_text(hint: Any, written: str) -> str:
    """Quotes the values of a YAML document, and the keys of its mappings, that are text by their type. Raises
    yaml.YAMLError if the document is not YAML."""
    document = yaml.compose(written, yaml.SafeLoader)
    if not isinstance(document, yaml.CollectionNode):
        return written
    _quote(hint, document)
    return str(yaml.serialize(document, Dumper=yaml.SafeDumper, allow_unicode=True, width=math.inf))


def _quote(hint: Any, node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode):
        # A missing value is an empty text where null is not allowed.
        is_null = node.tag == _NULL_TAG and not (hint is str and node.value == "")
        if _present(hint) is str and node.style is None and not is_null:
            node.tag, node.style = _TEXT_TAG, "'"
        return
    hint = _present(hint)
    kinds = _hints(typing.cast(type, hint)) if dataclasses.is_dataclass(hint) else {}
    arms = typing.get_args(hint)
    for item in node.value:
        if not isinstance(item, tuple):
            if typing.get_origin(hint) is list:
                _quote(arms[0], item)
            continue
        key, value = item
        if key.tag == _MERGE_TAG:
            _quote(hint, value)
        elif kinds:
            _quote(kinds.get(key.value), value)
        elif typing.get_origin(hint) is dict:
            _quote(arms[0], key)
            _quote(arms[1], value)


def expand_home(value: Any) -> Any:
    """Replaces ``~/`` at the beginning of a text, as a shell does, in lists and mappings too."""
    if isinstance(value, str):
        return os.path.expanduser(value) if _HOME.match(value) else value
    if isinstance(value, dict):
        return {key: expand_home(item) for key, item in value.items()}
    return [expand_home(item) for item in value] if isinstance(value, list) else value


def _present(hint: Any) -> Any:
    """A type without its ``| None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        arms = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        return arms[0] if len(arms) == 1 else hint
    return hint
