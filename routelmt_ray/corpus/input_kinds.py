"""Tells from names alone which files in a folder belong to a corpus, and why the others do not."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

PARQUET = (".parquet", ".pq", ".parq")
_PACKED = ("", ".gz", ".zst", ".zstd", ".bz2", ".xz")
JSON = tuple(".json" + packed for packed in _PACKED)
"""Endings of files that are JSON Lines or a single value; only their content tells which."""
JSON_LINES = tuple(kind + packed for kind in (".jsonl", ".ndjson") for packed in _PACKED) + JSON
ENDINGS = "{}; JSON Lines: .jsonl, .ndjson or .json, also with .gz, .zst, .bz2 or .xz".format(", ".join(PARQUET))
"""The endings in words."""
_COMPANION = re.compile(
    r"(readme|licen[cs]e|citation|changelog|notice)(\..*)?"
    r"|.*\.(md|rst|txt|html?|pdf|ya?ml|toml|ini|cfg|py|sh|ipynb|log|crc|md5|sha1|sha256|sha512|asc|sig|db)"
    r"|(dataset_infos?|dataset_dict|state|croissant|manifest|metadata|config)\.json"
)
"""Names of files that come with a corpus and hold no rows."""
_TABLES = {"_delta_log": ("Delta", "delta_scan"), ".hoodie": ("Hudi", None), "metadata": ("Iceberg", "iceberg_scan")}
ICEBERG = ".metadata.json"
"""Ending of the names of Iceberg's metadata files, in the folder ``metadata`` of a table."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file or folder beside those of a corpus that is not read."""

    name: str
    """Path inside the corpus; that of a folder ends in a slash."""
    reason: str
    """Reason why it is not read."""
    counts: bool
    """True where rows may be lost because of this: it counts against ``output.max_quarantine_share``."""


def has_ending(name: str, endings: tuple[str, ...]) -> bool:
    """Tells whether a name has one of some endings, in small or capital letters."""
    return name.lower().endswith(endings)


def why_unread(name: str) -> Unread | None:
    """Explains why a file is not read; None for a file that is read."""
    last = name.rpartition("/")[2].lower()
    if _COMPANION.fullmatch(last):
        return Unread(name, "comes with a corpus and holds no rows", False)
    if not has_ending(last, PARQUET + JSON_LINES):
        return Unread(name, "not of a known kind", True)
    return None


def hidden(name: str) -> list[Unread]:
    """Reports a hidden file or folder that may hold rows, as a list of one; else returns an empty list."""
    last = name.rstrip("/").rpartition("/")[2]
    rows = last.startswith("_") if name.endswith("/") else has_ending(last, PARQUET + JSON_LINES)
    return [Unread(name, "its name begins with . or _", False)] if rows else []


def refuse_table(folder: str, names: Collection[str], metadata: Iterable[str] = ()) -> None:
    """Refuses a folder that is a table of another system, whose files also hold deleted or replaced rows."""
    for mark, (kind, scan) in _TABLES.items():
        if mark in names and (mark != "metadata" or any(name.endswith(ICEBERG) for name in metadata)):
            how = f"COPY (FROM {scan}('{folder}')) TO 'corpus.parquet'" if scan else "by its own engine"
            raise ValueError(
                f"input.path: {folder} is a {kind} table, whose files also hold rows that were deleted or replaced; write "
                f"what it holds to Parquet first, {'e.g. with DuckDB: ' if scan else ''}{how}"
            )


def refuse_run(folder: str) -> None:
    """Refuses a run directory as a corpus, and names its folder with translations."""
    raise ValueError(
        f"input.path {folder} is a run directory, with files of several kinds; its translations are in {folder}/output"
    )


IN_RUN = "a run directory"
"""Reason why the files of a run directory are not read."""
RUN_MARKS = ("manifest.json", "input/files.json")
"""Files that a run directory has."""


def expand_braces(pattern: str) -> list[str]:
    """Expands ``{a,b}`` to all alternatives, as a shell does; other braces stay."""
    for start, character in enumerate(pattern):
        if character == "{" and (found := _arms(pattern, start)) is not None:
            arms, rest = found
            return [each for arm in arms for each in expand_braces(pattern[:start] + arm + rest)]
    return [pattern]


def _arms(pattern: str, start: int) -> tuple[list[str], str] | None:
    """The parts between the commas of the braces that open at a position, and the text after the braces."""
    depth, arms, begin = 0, [], start + 1
    for at in range(start, len(pattern)):
        depth += (pattern[at] == "{") - (pattern[at] == "}")
        if depth == 0 or (depth == 1 and pattern[at] == ","):
            arms.append(pattern[begin:at])
            begin = at + 1
        if depth == 0:
            return (arms, pattern[begin:]) if len(arms) > 1 else None
    return None


_MAGIC = re.compile(r"[*?\[{]")


def fixed_part(pattern: str) -> str:
    """Finds the folder that contains all matches of a glob; names inside a corpus are relative to it."""
    found = _MAGIC.search(pattern)
    folder, slash, _ = pattern[: found.start() if found else len(pattern)].rpartition("/")
    return folder or slash
