"""Changes the pure modules one small step at a time and counts the changes that a test notices (`make mutants`).

Each mutant is tested in a fork of this process, where the module under test is compiled with one change. What a change may
be: a comparison, an operator, a constant, a condition turned round, a statement left out. Texts are not changed.
Mutants that no test can notice are listed with the reason in `equivalent_mutants.txt`.
"""

import argparse
import ast
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from tests.mutated_modules import TESTS

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = ROOT / "tests/equivalent_mutants.txt"
# Loaded once, so that a fork need not; nothing of the project may be among them.
SHARED = ("numpy", "pyarrow.parquet", "pytest", "hypothesis.strategies", "ray.data", "s3fs", "omegaconf", "sacrebleu",
          "langcodes", "filelock")  # fmt: skip
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Add,
    ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change of one module."""

    module: str
    line: int
    text: str
    before: str
    after: str
    number: int
    """Among the changes of its module."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.text}: {self.before}  →  {self.after}"

    @property
    def key(self) -> str:
        """Names it without its line, which moves."""
        return f"{self.module}: {self.text}: {self.before}  →  {self.after}"


def changes(tree: ast.Module) -> Iterator[tuple[int, str, str, Callable[[], None]]]:
    """Line, text before and after, and what makes the change, of each change of a module; each is for a fresh tree."""
    for parent, field, node in list(_code(tree)):
        for new in _instead_of(node):
            before = ast.unparse(node)
            yield node.lineno, before, ast.unparse(new), lambda at=(parent, field, new): _put(*at)


def _code(node: ast.AST) -> Iterator[tuple[ast.AST, tuple[str, int | None], Any]]:
    """Nodes with the place they are in, without texts, types, decorators and assertions."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for at, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.JoinedStr | ast.Assert) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield node, (name, at), child
            yield from _code(child)


def _put(parent: ast.AST, field: tuple[str, int | None], new: ast.AST) -> None:
    name, at = field
    if at is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[at] = new


def _instead_of(node: Any) -> Iterator[Any]:
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPS:
            yield ast.Compare(node.left, [SWAPS[type(op)](), *node.ops[1:]], node.comparators)
        case ast.BinOp(op=op) if type(op) in SWAPS:
            yield ast.BinOp(node.left, SWAPS[type(op)](), node.right)
        case ast.BoolOp(op=op):
            yield ast.BoolOp(SWAPS[type(op)](), node.values)
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield node.operand
        case ast.UnaryOp(op=ast.USub(), operand=operand) if not isinstance(operand, ast.Constant):
            yield operand
        case ast.AugAssign(op=op) if type(op) in SWAPS:
            yield ast.AugAssign(node.target, SWAPS[type(op)](), node.value)
        case ast.IfExp():
            yield ast.IfExp(node.test, node.orelse, node.body)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
        case ast.If(test=ast.Name() | ast.Attribute() | ast.Call()):
            yield ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield ast.Pass()


def compiled(mutant: Mutant) -> Any:
    """The code of the module with the change."""
    path = ROOT / mutant.module
    tree = ast.parse(path.read_text())
    list(changes(tree))[mutant.number][3]()
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


class _Change(SourceFileLoader):
    """Finds and loads the changed module; all others are found as always."""

    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module.removesuffix(".py").replace("/", "."), str(ROOT / mutant.module))
        self._mutant = mutant

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        return spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> Any:
        return compiled(self._mutant)


def _test(module: str, mutant: Mutant | None) -> None:
    """In a fork: runs the tests of a module, with a change or without."""
    os.setsid()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    import hypothesis
    import pytest

    # The same examples every time, and no search for the smallest one.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, phases=phases)
    hypothesis.settings.load_profile("mutants")
    if mutant:
        sys.meta_path.insert(0, _Change(mutant))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "-x",
            "-q",
            "-m",
            "not slow and not soak",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--basetemp",
            folder,
        ]
        status = pytest.main([*words, *TESTS[module]])
    os._exit(int(status))


class Running:
    """The tests of one mutant under way."""

    def __init__(self, module: str, mutant: Mutant | None, limit_s: float) -> None:
        self.mutant = mutant
        self._process = get_context("fork").Process(target=_test, args=(module, mutant))
        self._process.start()
        self._ends = time.monotonic() + limit_s

    def status(self) -> int | None:
        """pytest's exit status; None while it runs, 1 where it took too long."""
        if self._process.exitcode is None and time.monotonic() > self._ends:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid or 0, 9)
            self._process.join()
            return 1
        return self._process.exitcode


def all_of(module: str) -> list[Mutant]:
    """Every mutant of a module."""
    source = (ROOT / module).read_text()
    lines = source.splitlines()
    found = enumerate(changes(ast.parse(source)))
    return [Mutant(module, line, lines[line - 1].strip(), *texts, number) for number, (line, *texts, _) in found]


def survivors(mutants: list[Mutant], limit_s: float, jobs: int) -> list[Mutant]:
    """Those that no test notices."""
    waiting, running, left = list(reversed(mutants)), [], []
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            running.append(Running(mutant.module, mutant, limit_s))
        time.sleep(0.02)
        for each in [each for each in running if each.status() is not None]:
            running.remove(each)
            if each.status() == 0 and each.mutant:
                left.append(each.mutant)
    return left


def main() -> int:
    """Runs a sample of each module's mutants; status 1 where fewer are noticed than asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="paths; all where none is named")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each module; 0 takes all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--least", type=float, default=0.9, help="share that must be noticed")
    asked = parser.parse_args()
    for name in SHARED:
        import_module(name)
    lines = [line for line in EQUIVALENT.read_text().splitlines() if "  ≡  " in line]
    equivalent = {line.partition("  ≡  ")[0] for line in lines}
    tried = noticed = 0
    for module in asked.modules or TESTS:
        mutants = all_of(module)
        if asked.sample:
            mutants = random.Random(f"{asked.seed} {module}").sample(mutants, min(asked.sample, len(mutants)))
        mutants = [mutant for mutant in mutants if mutant.key not in equivalent]
        began, plain = time.monotonic(), Running(module, None, 600)
        while plain.status() is None:
            time.sleep(0.02)
        if plain.status():
            sys.exit(f"{module}: its tests fail without a change: {' '.join(TESTS[module])}")
        left = survivors(mutants, 10 + 10 * (time.monotonic() - began), asked.jobs)
        tried, noticed = tried + len(mutants), noticed + len(mutants) - len(left)
        print(f"{module}: {len(mutants) - len(left)} of {len(mutants)}", *map(str, left), sep="\n    ", flush=True)
    print(f"{noticed} of {tried} mutants are noticed: {noticed / max(tried, 1):.1%}")
    return int(noticed < asked.least * tried)


if __name__ == "__main__":
    sys.exit(main())
