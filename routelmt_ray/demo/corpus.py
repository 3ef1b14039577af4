"""Seeded parallel corpora from the demo grammar.

    python -m routelmt_ray.demo.corpus --out data/demo --rows 2500 --seed 0 --split test

Rows alternate between English to Spanish and English to German. The splits share no sentence (see `grammar.py`).
"""

import argparse
import os
import sys
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from routelmt_ray.demo.grammar import LANGUAGE_NAMES, SOURCE_LANG, SPLITS, examples

COLUMNS = ("id", "domain", "source_lang", "target_lang", "source", "reference")


def rows(split: str, count: int, seed: int) -> list[dict[str, str]]:
    """Builds `count` rows with the columns `COLUMNS`: all source texts differ, and target languages take turns."""
    codes = list(LANGUAGE_NAMES)
    return [
        {
            "id": f"{split}-{seed}-{i:06d}",
            "domain": example.domain,
            "source_lang": SOURCE_LANG,
            "target_lang": codes[i % len(codes)],
            "source": example.source,
            "reference": example.targets[codes[i % len(codes)]],
        }
        for i, example in zip(range(count), examples(split, seed))
    ]


def write_corpus(out: Path, split: str, count: int, seed: int, files: int = 1) -> list[Path]:
    """Writes the rows as Parquet, each file under a temporary name first. Raises ValueError if `count` or `files` is
    out of bounds."""
    if count < 1:
        raise ValueError(f"rows: must be at least 1, got {count}")
    if not 1 <= files <= count:
        raise ValueError(f"files: must be between 1 and rows ({count}), got {files}")
    table = pa.Table.from_pylist(rows(split, count, seed), pa.schema([(name, pa.string()) for name in COLUMNS]))
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for i in range(files):
        first, last = count * i // files, count * (i + 1) // files
        path = out / (f"{split}-{i:03d}.parquet" if files > 1 else f"{split}.parquet")
        temporary = out / f".{path.name}.{uuid.uuid4().hex}.tmp"
        try:
            pq.write_table(table.slice(first, last - first), temporary, row_group_size=1024)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        written.append(path)
    return written


def main(argv: list[str] | None = None) -> int:
    """Runs the command line: writes a corpus and prints the names of its files."""
    parser = argparse.ArgumentParser(prog="python -m routelmt_ray.demo.corpus", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--rows", type=int, default=2500, help="rows in all (default 2500)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the grammar (default 0)")
    parser.add_argument("--split", choices=SPLITS, default="test", help="default test")
    parser.add_argument("--files", type=int, default=1, help="files the rows are cut into (default 1)")
    args = parser.parse_args(argv)
    try:
        written = write_corpus(args.out, args.split, args.rows, args.seed, args.files)
    except ValueError as error:
        parser.error(str(error))
    print(f"{args.rows} rows of {args.split} in {', '.join(map(str, written))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
