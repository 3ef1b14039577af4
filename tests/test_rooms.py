"""Every module lies in a room of one idea, and imports only from its own room and from those below it."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

ROOMS = (
    "job", "reports", "evaluation", "plan", "router", "stages", "metrics", "runtime", "engines", "account", "budget",
    "checks", "corpus", "storage", "config",
)  # fmt: skip
"""From the top down. The demo stands beside them: it may import all, and none imports it."""
LIBRARY = ROOT / "routelmt_ray"


def modules() -> Iterator[tuple[str, Path]]:
    for path in LIBRARY.rglob("*.py"):
        yield path.relative_to(LIBRARY).parts[0], path


def imported(path: Path) -> Iterator[str]:
    """Finds the rooms that a module imports from, also where it imports within a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            package, _, rest = name.partition(".")
            if package == "routelmt_ray":
                yield rest.partition(".")[0]


def test_every_module_lies_in_a_room() -> None:
    loose = {path.name for room, path in modules() if path.parent == LIBRARY}
    assert loose == {"__init__.py"}
    assert {room for room, path in modules() if path.parent != LIBRARY} == {*ROOMS, "demo"}


def test_each_room_says_what_it_is() -> None:
    for room in (*ROOMS, "demo"):
        assert ast.get_docstring(ast.parse((LIBRARY / room / "__init__.py").read_text())), room


def test_imports_go_downwards_only() -> None:
    level = {room: number for number, room in enumerate(ROOMS)}
    upwards = [
        f"{path.relative_to(LIBRARY)} imports from {name}"
        for room, path in modules()
        if room in level
        for name in imported(path)
        if name != "__version__" and level.get(name, -1) < level[room]
    ]
    assert not upwards


def test_the_name_of_a_class_stands_for_one_thing() -> None:
    names = Counter(
        node.name
        for path in sorted(LIBRARY.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, times in names.items() if times > 1] == []
