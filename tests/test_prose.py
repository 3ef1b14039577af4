"""Docstrings begin with a verb, and words have one meaning: see the glossary in routelmt_ray/README.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

NOT_SAID = (
    "anew", "borne", "foretold", "foretell", "foretells", "learnt", "mend", "mended", "is told of", "so many", "take up",
    "taken up", "takes up", "whatever",
)  # fmt: skip
"""Words that a reader whose first language is not English may not know, or that mean several things here."""
VERB = re.compile(r"[A-Z][a-z]+s\b")
VAGUE = re.compile(r"(What|Which|Where|How|Whether|When|Why|It|Its|This|These|Those|They|There|Everything|Someone)\b")
"""Beginnings that leave a reader to guess what a text is about."""


def sources() -> Iterator[Path]:
    yield from sorted((ROOT / "routelmt_ray").rglob("*.py"))
    yield from sorted((ROOT / "jobs").rglob("*.py"))


def texts() -> Iterator[Path]:
    """Finds all that a reader of the project may open: code, tests and pages."""
    yield from sources()
    for pattern in ("tests/**/*.py", "**/*.md", "configs/*.yaml", "cluster/*.yaml"):
        yield from sorted(path for path in ROOT.glob(pattern) if path.name != "test_prose.py" and not hidden(path))


def hidden(path: Path) -> bool:
    """Tells whether a file lies in a folder of another tool, such as an environment."""
    return any(part.startswith(".") or part in ("runs", "build") for part in path.relative_to(ROOT).parts)


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Finds functions and methods for others; a property is named like a thing, and so is its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            decorators = {getattr(d, "id", getattr(d, "attr", "")) for d in node.decorator_list}
            if not decorators & {"property", "cached_property"}:
                yield node


def test_the_docstring_of_a_function_begins_with_a_verb() -> None:
    others = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {doc.splitlines()[0]}"
        for path in sources()
        for node in public_functions(ast.parse(path.read_text()))
        if (doc := ast.get_docstring(node)) and not VERB.match(doc)
    ]
    assert not others, "\n".join(others)


def texts_of(tree: ast.Module) -> Iterator[ast.Constant]:
    """Finds the docstrings of modules, classes, functions, fields and constants."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value


def test_no_docstring_begins_with_a_question_or_a_pronoun() -> None:
    vague = [
        f"{path.relative_to(ROOT)}:{text.lineno} {str(text.value).strip().splitlines()[0]}"
        for path in sources()
        for text in texts_of(ast.parse(path.read_text()))
        if VAGUE.match(str(text.value).strip())
    ]
    assert not vague, "\n".join(vague)


def test_words_that_many_readers_do_not_know_are_not_used() -> None:
    pattern = re.compile(r"\b(" + "|".join(NOT_SAID) + r")\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number} {match[0]}"
        for path in texts()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert not found, "\n".join(found)
