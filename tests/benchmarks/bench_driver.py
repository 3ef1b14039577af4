"""What the driver itself does for many shards and actors, without an engine: books, meters, plans, and items of work.

    python tests/benchmarks/bench_driver.py                      100,000 shards, 1,000 actors
    python tests/benchmarks/bench_driver.py --of ../other        the same of another checkout, such as one of an older commit

`books`: the closed loop of a budget in hours with its plan, its books and its meters, over a corpus in memory; shards commit in
the order that the loop asks for, and the CPU time of an even sample of commits is taken, those that plan a tranche apart.
`meters`: one reading of all actors of which 5 % have changed since the last. `items`: Ray Data from the start of an execution to
its first shards; all tranches' items are known then, and only the first may go on. CPU seconds of this process with all of its
threads, each part in a process of its own; memory is the peak.
"""

import argparse
import dataclasses
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, os.environ.get("BENCH_OF") or str(Path(__file__).resolve().parents[2]))

import numpy as np

from routelmt_ray.budget import Cut, Search
from routelmt_ray.budget.cost import CostModel, ProbeCost, TranslatorCost
from routelmt_ray.budget.rule import Band, Rule
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.plan import closed_loop
from routelmt_ray.plan import plan as plans
from routelmt_ray.plan.allocate import PlanTally
from routelmt_ray.plan.planning import Planner
from routelmt_ray.runtime import metering
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.storage.rundir import RunDir

PARTS = ("books", "meters", "items")
SAMPLES = 100
"""Commits that are timed."""
ROW_S = {"small": 1.0, "large": 5.0}


class Corpus:
    """Rows of equal cost and falling gain, decided by their number alone."""

    def __init__(self, run: RunDir, shards: int, rows: int) -> None:
        self.context = SimpleNamespace(run=run, seed=0)
        self.plan, self.rows = ShardPlan(["x"], [shards * rows], rows), shards * rows
        self.fields = 4 if _is_new() else 3

    def find_cut(self, rule: Rule, search: Search, scales: tuple[float, float] = (1.0, 1.0)) -> Band:
        routed, left = self._sides(rule)
        room = self.rows - routed - left
        weight = max(1, round(1e6 * (scales[1] * ROW_S["large"] - scales[0] * ROW_S["small"])))
        k = min(room, search.k if search.k is not None else int(search.capacity or 0) // weight)
        return Band(Cut(k, k * weight, room, float(np.float32(1 / (routed + k))) if k else None), scales)

    def _sides(self, rule: Rule) -> tuple[int, int]:
        """Rows routed and rows left to the small model so far."""
        routed = left = 0
        for decision in rule.decisions:
            taken = decision.routed.cut.k if decision.routed else 0
            still = decision.open.cut.k if decision.open else 0
            routed += taken
            if decision.final:
                left = self.rows - routed
            elif decision.open:
                left = max(left, self.rows - routed - still)
        return routed, left

    def tally(self, rule: Rule) -> PlanTally:
        owed, before = [], (0, 0)
        for i in range(len(rule.decisions)):
            now = self._sides(dataclasses.replace(rule, decisions=rule.decisions[: i + 1]))
            routed, left = now[0] - before[0], max(0, now[1] - before[1])
            both = (left * ROW_S["small"], routed * ROW_S["small"], routed * ROW_S["large"], 0.0)
            owed.append(both[: self.fields])
            before = now
        routed, left = before
        still = self.rows - routed - left
        return PlanTally(routed, left, still, 0.0, tuple(owed), still * ROW_S["small"])

    def counts(self, rule: Rule, large: Any, small: Any) -> dict[int, tuple[int, int]]:
        return dict.fromkeys(range(len(self.plan)), (1, 1))


def _is_new() -> bool:
    return hasattr(closed_loop, "ToCome")


def actors(run: RunDir, count: int, changed: float = 1.0) -> None:
    """Writes meters of actors that are at work, or some of them once more."""
    for i in range(int(count * changed)):
        kind, started = ("small", "large")[i % 2], metering._utc_now()
        reading = meter_readings.MeterReading(
            kind, "gpu_s", f"host-{i // 8}", i, 1.0, started, started, 900.0 + i, 60.0, 830.0, 10.0, 100, "busy"
        )
        path = run.root / meter_readings.FOLDER / f"{kind}-{i:032x}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(reading)))


def books(folder: Path, shards: int, count: int) -> dict[str, float]:
    """Drives the loop."""
    run, rows = RunDir(folder), 400
    actors(run, count)
    hours = (shards * rows * 2.5 * ROW_S["small"] + count * 60 * 10 + count * 2_000) / 3600
    words = [
        f"run_dir={folder}", "input.path=x", f"budget.gpu_hours={hours}", "router.kind=length", "router.scale=1",
        "models.small.engine=echo", "models.large.engine=echo", "input.source_lang=en", "input.target_lang=de",
        f"models.small.pool.actors={count // 2}", f"models.large.pool.actors={count // 2}",
    ]  # fmt: skip
    config = configlib.load(TranslateConfig, [], words)
    of = {size: TranslatorCost("gpu_s", 60.0, 1e-3, 0.0, 1e-3, 1.0, 1.0, {"*": 1.0}, 0.05) for size in ROW_S}
    cost = CostModel("a machine", 9, ProbeCost(), of["small"], of["large"], {"probe": 0.0, **ROW_S}, {}, {})
    corpus = Corpus(run, shards, rows)
    base: dict[str, Any] = {f"{key}_{size}": [] for key in ("earlier", "paid") for size in ROW_S}
    series = plans.Series(plans.configured_rule(config, cost), 0, base | {"audit": None, "strata": None})
    planner = Planner(config, corpus, corpus.rows, series)  # type: ignore[arg-type]
    sampled: list[float] = []
    planned: list[float] = []

    def work(title: str, size: str, leg_of: Any, rows: Any) -> Any:
        from routelmt_ray.runtime.pipelines import Work

        return Work(title, rows, lambda stage, shard: {}, lambda items: items)

    def carry_out(works: list[Any], on_commit: Any = None, *, in_order: bool = False) -> None:
        queues = [iter(work.rows) for work in works]
        heads = [next(queue, None) for queue in queues]
        every = max(1, sum(len(work.rows) for work in works) // SAMPLES)
        done = 0
        while any(heads):
            moved = False
            for i, head in enumerate(heads):
                if head is None or not _written(planner, head[0]):
                    continue
                moved, heads[i], done, newest = True, next(queues[i], None), done + 1, head
                stats = _stats(planner, *head)
                last = heads[i] is None or heads[i][0] != head[0]
                if not last and done % every:
                    loop._ledger.add(*head, stats)
                    continue
                entries, began = planner.series.next_number, time.process_time()
                on_commit(*head, stats)
                took = time.process_time() - began
                (sampled if planner.series.next_number == entries else planned).append(took)
            if not moved:  # the commit that would have brought the next entry about was none of the sample
                entries = planner.series.next_number
                on_commit(*newest, stats)
                assert planner.series.next_number > entries, "the loop waits for an entry that nothing brings about"

    closed_loop.cluster.pools_fit_together = lambda pools: True  # type: ignore[assignment]
    began = time.process_time()
    loop = closed_loop.ClosedLoop(planner, work, carry_out)
    loop.run()
    return {
        "CPU ms per commit, mean": 1e3 * float(np.mean(sampled)),
        "CPU ms per commit, largest": 1e3 * float(np.max(sampled)),
        "CPU ms to plan a tranche, largest": 1e3 * float(np.max(planned)),
        "CPU s of the whole loop, sampled commits alone": time.process_time() - began,
    }


def _stats(planner: Planner, stage: str, shard: int) -> dict[str, float]:
    """What the commit of a shard reports: an equal share of what its decision owes, and a little more or less of seconds."""
    size, _, name = stage.partition("/")
    owed = planner.series.last["tally"]["owed"]
    share_s = owed[int(name)][2 * (size == "large")] / len(planner.corpus.plan) if int(name) < len(owed) else 0.0
    measured_s = share_s * (1 + 0.02 * (shard % 7 - 3))
    return {"rows": round(share_s / ROW_S[size]), "predicted_s": share_s, "device_s": measured_s, "failed": 0}


def _written(planner: Planner, stage: str) -> bool:
    name = stage.partition("/")[2]
    return not name.isdigit() or int(name) < planner.series.next_number


def meters(folder: Path, shards: int, count: int) -> dict[str, float]:
    """Reads all meters again after some of them changed."""
    run, reads = RunDir(folder), 0
    actors(run, count)
    for path in (run.root / meter_readings.FOLDER).iterdir():
        os.utime(path, (1.7e9, 1.7e9))
    meter_readings.readings(run)
    actors(run, count, 0.05)
    read = meter_readings.storage.read_json

    def counted(path: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(path)

    meter_readings.storage.read_json = counted
    began = time.process_time()
    found = meter_readings.readings(run)
    took = time.process_time() - began
    assert len(found) == count
    return {"files read": reads, "CPU ms per reading of all": 1e3 * took}


def items(folder: Path, shards: int, count: int) -> dict[str, float]:
    """Starts an execution over the items of twelve legs, until shards of the first are through."""
    from routelmt_ray.config.common import RayConfig
    from routelmt_ray.runtime import cluster, pipelines

    cluster.start(RayConfig(num_cpus=4))
    tasks = [(f"small/{entry:03d}", shard) for entry in range(12) for shard in range(shards)]
    before, began, wall = _peak_mib(), time.process_time(), time.monotonic()
    if hasattr(pipelines, "gated"):
        import ray

        made = [_item(*task) for task in tasks]
        dataset = pipelines.gated(ray.data.from_items(made, override_num_blocks=len(made)), _is_first)
    else:
        from routelmt_ray.runtime import work_items

        dataset = work_items.dataset(tasks, _item, _is_first)
    blocks = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for block in itertools.islice(blocks, 100):
        assert block.num_rows == 1
    took = time.process_time() - began
    cluster.end_pipelines()
    return {
        "items": len(tasks),
        "CPU s until 100 are through": took,
        "CPU ms per item": 1e3 * took / len(tasks),
        "wall s until 100 are through": time.monotonic() - wall,
        "MiB more": _peak_mib() - before,
    }


def _item(stage: str, shard: int) -> dict[str, Any]:
    spans = json.dumps([[f"/a/folder/of/a/corpus/part-{shard:06d}.parquet", 0, 32_768]])
    return {"shard": shard, "first_place": shard * 32_768, "rows": 32_768, "spans": spans, "stage": stage}


def _is_first(item: Any) -> bool:
    return bool(item["stage"][0].as_py() == "small/000")


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument(
        "--item-shards", type=int, default=2_000, help="shards of the part `items`, which grows with them"
    )
    parser.add_argument("--actors", type=int, default=1_000)
    parser.add_argument("--of", default="", help="the checkout that is measured; this one by default")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--here", action="store_true", help="run the one part in this process")
    options = parser.parse_args()
    shards = {"items": options.item_shards}
    if options.here:
        part = options.parts[0]
        with tempfile.TemporaryDirectory() as folder:
            found = globals()[part](Path(folder), shards.get(part, options.shards), options.actors)
        for name, value in (found | {"peak MiB of the driver": _peak_mib()}).items():
            print(f"| {part} | {name} | {value:,.3f} |", flush=True)
        return
    print("| part | what | figure |\n|---|---|---|", flush=True)
    for part in options.parts:
        words = [sys.executable, __file__, "--here", "--parts", part, "--actors", str(options.actors)]
        words += ["--shards", str(options.shards), "--item-shards", str(options.item_shards)]
        subprocess.run(words, env=os.environ | {"BENCH_OF": options.of}, check=True)


if __name__ == "__main__":
    main()
