"""Typed configuration from YAML and ``key=value`` words: merging by OmegaConf, bounds and help from the dataclass.

A field that is declared with :func:`option` has a description and a check of its allowed values; the docstring under a
field is its help text. The value of a text field is the text as written, see :mod:`routelmt_ray.config.text`. Nothing
here depends on a particular job.
"""

import ast
import dataclasses
import difflib
import functools
import inspect
import math
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import omegaconf
from omegaconf import OmegaConf

from routelmt_ray.config.secrets import hidden
from routelmt_ray.config.text import expand_home, is_optional, quote_text, read_text, type_of

T = TypeVar("T")


def option(default: Any, allowed: str, check: Callable[[Any], bool], table: Mapping[str, Any] | None = None) -> Any:
    """Declares a dataclass field with a default and a check of its values. `allowed` has the allowed values in the
    words of the error message and the help; in a table, the `help` of each entry says what a value means."""
    meanings = " ".join(f"`{name}`: {kind.help}." for name, kind in (table or {}).items())
    metadata = {"allowed": allowed, "check": check, "help": meanings}
    if isinstance(default, list | dict):  # not hashed, as a model's config is a key of caches
        return dataclasses.field(default_factory=default.copy, metadata=metadata, hash=False)
    return dataclasses.field(default=default, metadata=metadata)


def choice(default: str | None, names: Mapping[str, Any] | Sequence[str]) -> Any:
    """Declares a dataclass field whose value is one of some names, or null where that is the default. In a table, each
    entry has a `help`; one that is added later is allowed too."""
    null, table = "null or " if default is None else "", names if isinstance(names, Mapping) else None
    allowed = f"{null}one of {', '.join(names)}"
    return option(default, allowed, lambda v: v in names or (v is None and default is None), table)


def load(schema: type[T], files: list[str], overrides: list[str]) -> T:
    """Merges YAML files and ``key=value`` words into a checked, frozen config; later ones win. Raises ValueError if a
    value is wrong; the message names the file or field, the value and what is allowed."""
    node = _defaults(typing.cast(Any, schema))
    layers = list(_layers(schema, files, overrides))
    try:
        node = OmegaConf.merge(node, *(layer for _, layer in layers))
    except omegaconf.errors.OmegaConfBaseException:
        for name, layer in layers:  # one after another, which takes longer, to say which one it was
            try:
                node = OmegaConf.merge(node, layer)
            except omegaconf.errors.OmegaConfBaseException as error:
                raise ValueError(f"{name}: {_explain(schema, error)}") from None
    try:
        plain = OmegaConf.to_container(node, resolve=True, enum_to_str=True)
    except omegaconf.errors.OmegaConfBaseException as error:
        raise ValueError(f"{error.full_key}: {str(error).splitlines()[0]}") from None
    return typing.cast(T, build(schema, expand_home(plain)))


@functools.cache
def _defaults(schema: Any) -> Any:
    """Builds the node of a schema, which takes longer than all else here; a merge copies it."""
    node = OmegaConf.structured(schema)
    OmegaConf.set_readonly(node, None)
    return node


def build(schema: type, values: dict[str, Any], at: str = "") -> Any:
    """Builds the dataclass from a plain dict whose keys and types have been checked, and checks every bound.

    A key that is left out has its default: the manifest of an earlier version may lack it. Raises ValueError if a value
    is out of bounds; the message names the field, the value and what is allowed.
    """
    hints, arguments = typing.get_type_hints(schema), {}
    for f in dataclasses.fields(schema):
        if f.name not in values:
            continue
        value, key = values[f.name], at + f.name
        if dataclasses.is_dataclass(hints[f.name]):
            value = build(typing.cast(type, hints[f.name]), value, key + ".")
        elif "check" in f.metadata and not f.metadata["check"](value):
            raise ValueError(f"{key} is {value!r}; it must be {f.metadata['allowed']}")
        elif not _is_finite(value):
            raise ValueError(f"{key} is {value!r}; it must be a finite number")
        arguments[f.name] = value
    return schema(**arguments)


def _is_finite(value: Any) -> bool:
    values = value.values() if isinstance(value, dict) else [value]
    return all(math.isfinite(each) for each in values if isinstance(each, float))


def _layers(schema: type, files: list[str], overrides: list[str]) -> Iterator[tuple[str, Any]]:
    for name in files:
        try:
            with open(expand_home(name), encoding="utf-8") as source:
                layer = OmegaConf.create(quote_text(schema, source.read()) or "{}")
        except FileNotFoundError:
            raise ValueError(f"--config {name}: no such file") from None
        except Exception as error:  # a YAML parser's errors have no common base worth naming
            raise ValueError(f"--config {name}: not valid YAML: {error}") from None
        if not isinstance(layer, omegaconf.DictConfig):
            raise ValueError(f"--config {name}: must be a mapping of keys to values")
        yield f"--config {name}", layer
    before = ("", "")
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ValueError(f"{word!r} is not of the form key=value, e.g. budget.fraction=0.3")
        if key == before[0] and value != before[1] and type_of(schema, key) is str:
            raise ValueError(
                f"{key} is given twice in a row, as {before[1]!r} and {value!r}; a shell expands {{a,b}} into two "
                "words: put quotes around the whole word, or leave one out"
            )
        before = key, value
        kind = type_of(schema, key)
        try:
            if kind is str:
                layer = OmegaConf.create({})
                OmegaConf.update(layer, key, read_text(value, is_optional(schema, key)))
            else:
                layer = OmegaConf.from_dotlist([f"{key}={quote_text(kind, value)}"])
        except Exception as error:  # the same: YAML on the right of the equals sign
            shown = hidden(word)
            why = f": {error}" if shown == word else ""
            raise ValueError(f"{shown!r}: the value is not valid YAML{why}") from None
        yield hidden(word), layer


def _explain(schema: type, error: omegaconf.errors.OmegaConfBaseException) -> str:
    key = str(error.full_key or "")
    if isinstance(error, (omegaconf.errors.ConfigKeyError, omegaconf.errors.ConfigAttributeError)):
        known = [name for name, *_ in flatten(schema)]
        known += sorted({name.rpartition(".")[0] for name in known if "." in name})  # whole sections too
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else "; --help lists every key"
        return f"unknown key {key}{hint}"
    what = str(error).splitlines()[0]
    return f"{key} must be a list, e.g. {key}=[a,b]" if "is not a ListConfig" in what else f"{key}: {what}"


def flatten(schema: type, at: str = "") -> Iterator[tuple[str, str, Any, str, str]]:
    """Yields (key, type, default, allowed, help) for every leaf of a config schema, in order of declaration."""
    hints, docs = typing.get_type_hints(schema), field_docs(schema)
    for f in dataclasses.fields(schema):
        hint = hints[f.name]
        if dataclasses.is_dataclass(hint):
            yield from flatten(typing.cast(type, hint), at + f.name + ".")
        else:
            is_list = typing.get_origin(hint) is list
            arms = typing.get_args(hint) or (hint,)
            kind = " or ".join("null" if arm is type(None) else arm.__name__ for arm in arms)
            kind = f"list of {kind}" if is_list else kind
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            yield (
                at + f.name,
                kind,
                default,
                f.metadata.get("allowed", kind),
                " ".join(filter(None, [docs.get(f.name), f.metadata.get("help")])),
            )


def field_docs(schema: type) -> dict[str, str]:
    """Reads the docstring under each field of a dataclass from its source."""
    docs = {}
    for part in reversed(schema.__mro__[:-1]):
        body = ast.parse(inspect.cleandoc(inspect.getsource(part))).body[0]
        assert isinstance(body, ast.ClassDef)
        for item, following in zip(body.body, body.body[1:]):
            match (item, following):
                case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text)))):
                    docs[name] = " ".join(text.split())
    return docs


def help_text(schema: type) -> str:
    """Lists every key with its default, its meaning and its allowed values, for ``--help``."""
    lines = []
    for key, kind, default, allowed, doc in flatten(schema):
        shown = "null" if default is None else repr(default)
        lines += [f"  {key}={shown}", f"      {doc}" + (f" [{allowed}]" if allowed != kind else f" [{kind}]")]
    return "\n".join(lines)


def parse_args(schema: type[T], doc: str, argv: list[str]) -> T:
    """Reads a job's command line: ``--config FILE`` (repeatable), ``--help`` and ``key=value`` words. Raises ValueError
    if the command line or the configuration is wrong, and SystemExit with status 0 after ``--help``."""
    files: list[str] = []
    overrides: list[str] = []
    words = iter(argv)
    for word in words:
        if word in ("-h", "--help"):
            sys.stdout.write(f"{inspect.cleandoc(doc)}\n\nKeys:\n{help_text(schema)}\n")
            raise SystemExit(0)
        if word == "--config" or word.startswith("--config="):
            name = word.partition("=")[2] if "=" in word else next(words, "")
            if not name:
                raise ValueError("--config needs the path of a YAML file")
            files.append(name)
        elif word.startswith("-"):
            raise ValueError(f"unknown option {word}; options are --config FILE and --help, all else is key=value")
        else:
            overrides.append(word)
    return load(schema, files, overrides)


def to_dict(config: Any) -> dict[str, Any]:
    """Converts a config to plain dicts, for a manifest."""
    return dataclasses.asdict(config)
