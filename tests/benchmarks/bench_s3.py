"""Requests a shard costs on S3: the translate job on a local S3 server, counted by a proxy before it.

    python tests/benchmarks/bench_s3.py [--shards 20 60] [--shard-rows 2000]

Engines are `echo`, the router is `length`, the input is one Parquet file of one row group a shard. What does not grow with
the shards is told from what does by two runs. One shard of the output is then removed and the same command given once more,
for a start that finds nearly all done.
Prints a Markdown table: requests a shard by method and, of those below the run directory, by stage.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.s3 import server
from tests.s3.proxy import FaultProxy, Request

ROOT = Path(__file__).resolve().parents[2]
Counts = Counter[tuple[str, str]]


def kind(request: Request) -> tuple[str, str]:
    """Method and place of a request."""
    address = urlsplit(request.target)
    method = "LIST" if "list-type" in address.query else request.method
    _, _, folder, *rest = f"{address.path}///".split("/")
    if folder != "run" or method == "LIST":
        return method, "" if method == "LIST" else "input"
    return method, rest[0] if rest[0] in ("scores", "small", "large", "output", "plan", "meter", "input") else "other"


def counted(shards: int, shard_rows: int, words: list[str]) -> tuple[Counts, Counts]:
    """Requests of a whole run, and of the same command once more."""
    with tempfile.TemporaryDirectory() as folder, server.started(Path(folder) / "log") as port:
        os.environ.update(server.environment(port))
        client = boto3.client("s3")
        client.create_bucket(Bucket="bench")
        rows = [f"row {i} " + "x" * (i * 7 % 90) for i in range(shards * shard_rows)]
        pq.write_table(pa.table({"source": rows}), f"{folder}/in.parquet", row_group_size=shard_rows)
        client.upload_file(f"{folder}/in.parquet", "bench", "in/in.parquet")
        found = []
        with FaultProxy(port) as proxy:
            command = [
                sys.executable, "jobs/translate.py", "run_dir=s3://bench/run", "input.path=s3://bench/in", f"input.shard_rows={shard_rows}",
                "input.source_lang=en", "input.target_lang=de", "models.small.engine=echo", "models.large.engine=echo",
                "router.kind=length", "budget.fraction=0.3", "ray.object_store_mb=200", *words,
            ]  # fmt: skip
            environment = os.environ | server.environment(proxy.port)
            for _ in range(2):
                before = len(proxy.seen)
                done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise SystemExit(done.stderr[-3000:])
                found.append(Counter(map(kind, proxy.seen[before:])))
                client.delete_object(Bucket="bench", Key=f"run/output/shard-{shards - 1:06d}.parquet")
    return found[0], found[1]


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs=2, default=[20, 60])
    parser.add_argument("--shard-rows", type=int, default=2000)
    parser.add_argument("words", nargs="*", help="more key=value words for the job")
    options = parser.parse_args()
    few, many = (counted(shards, options.shard_rows, options.words) for shards in options.shards)
    more = options.shards[1] - options.shards[0]
    for name, low, high in (
        ("a whole run", few[0], many[0]),
        ("the same command again, for one shard", few[1], many[1]),
    ):
        print(f"\n| {name} | requests a shard | besides |\n|---|---|---|")
        for key in sorted(low | high):
            slope = (high[key] - low[key]) / more
            print(f"| {' '.join(key)} | {slope:.2f} | {low[key] - slope * options.shards[0]:.0f} |")
        for method in sorted({method for method, _ in low | high}):
            total = sum(high[key] - low[key] for key in low | high if key[0] == method) / more
            print(f"| **all {method}** | **{total:.2f}** | |")


if __name__ == "__main__":
    main()
