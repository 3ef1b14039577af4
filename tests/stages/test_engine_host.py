"""A host in a process of its own: it ends where its engine is dead or hangs, and its successor finds the row."""

import gc
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from routelmt_ray import storage
from routelmt_ray.config.common import PoolConfig
from routelmt_ray.engines import EveryRowFailed
from routelmt_ray.runtime import engine_host
from routelmt_ray.runtime.engine_host import LAST_LOADS, EngineHost, NotLoaded
from routelmt_ray.runtime.readings import BUSY, IDLE, LOADING, MeterReading, failed_loads, readings
from routelmt_ray.runtime.suspects import deaths
from routelmt_ray.storage.rundir import FORMAT, RunDir
from tests.conftest import ROOT

HOST = """
import subprocess, sys, time
from pathlib import Path
from routelmt_ray.config.common import PoolConfig
from routelmt_ray.engines import EngineDead
from routelmt_ray.storage.rundir import RunDir
from routelmt_ray.runtime.engine_host import EngineHost

folder, what = Path(sys.argv[1]), sys.argv[2]
if what == "child":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", str(folder)])

def load():
    if what == "load":
        time.sleep(300)
    return what

def ask(rows):
    if 7 in rows:
        if what == "hang":
            time.sleep(300)
        raise EngineDead("it is no more")
    return [row * 10 for row in rows]

host = EngineHost(RunDir(folder), "small", PoolConfig(timeout_s=0.5), load)
answers, took = host.answers("small/000", 2, list(range(100)), ask)
print(answers.index(None), sum(answer is None for answer in answers), answers[8])
"""


def start(folder: Path, what: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-c", HOST, str(folder), what]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("what", ["die", "hang"])
def test_an_engine_that_dies_or_hangs_ends_its_process_and_the_row_is_found(tmp_path: Path, what: str) -> None:
    starts = 1
    while (done := start(tmp_path, what)).returncode:
        assert done.returncode == 1
        assert ("so it counts as hung" if what == "hang" else "it is no more") in done.stderr
        starts += 1
    assert starts == 5  # whole twice, then 16 parts of 7 rows, then single rows
    assert done.stdout.split() == ["7", "1", "80"]
    assert deaths(RunDir(tmp_path))[0][1].convicted == (7,)
    assert [reading.state for reading in readings(RunDir(tmp_path))].count("busy") == 4


def test_what_the_engine_started_ends_with_it(tmp_path: Path) -> None:
    assert start(tmp_path, "child").returncode == 1
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in (p.info["cmdline"] or [])]


def test_one_that_hangs_while_it_loads_ends(tmp_path: Path) -> None:
    assert start(tmp_path, "load").returncode == 1
    (reading,) = readings(RunDir(tmp_path))
    assert reading.state == "loading"


@pytest.mark.parametrize("answers", [1, 0])
def test_an_engine_whose_server_still_answers_is_not_taken_for_hung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: int
) -> None:
    ended: list[float] = []
    monkeypatch.setattr(engine_host, "_end_process", lambda: ended.append(time.monotonic()))

    class Asking:
        answered = 0

        def usage(self) -> dict[str, float]:
            return {"answers": float(self.answered)}

        def ask(self, rows: list[int]) -> list[int]:
            for _ in range(16):
                time.sleep(0.05)
                self.answered += answers
            return rows

    host = EngineHost(RunDir(tmp_path), "large", PoolConfig(timeout_s=0.3), Asking)
    host.answers("large/000", 0, [1], host.engine.ask)
    assert bool(ended) == (not answers)


def life(actor: str, number: int, state: str = LOADING, host: str = "here", began: str = "now") -> MeterReading:
    """One process of an actor."""
    return MeterReading(
        "small", "cpu_s", host, number, 0.0, f"2026-01-01T00:00:{number:02d}", "", 1.0, 1.0, 0.0, 2.0, 0, state,
        start=began, actor=actor,
    )  # fmt: skip


def failures(*found: MeterReading) -> list[int]:
    return [reading.pid for reading in failed_loads(found, "small", "here", "now")]


def test_only_a_process_that_ray_replaced_has_crashed() -> None:
    ended_while_loading = [life(f"actor {i}", i) for i in range(9)]  # an execution was over before they had loaded
    assert failures(*ended_while_loading) == []
    assert failures(*ended_while_loading, life("actor 3", 20)) == [3]
    assert failures(life("", 1), life("", 2)) == [], "outside of Ray nobody is replaced"


def test_a_crash_counts_on_its_machine_in_its_start_and_until_an_engine_has_loaded() -> None:
    assert failures(*(life("a", i) for i in range(1, 5)), life("a", 5)) == [1, 2, 3, 4]
    elsewhere = [life(f"lost {i}", i, host="a spot node") for i in range(8)]
    assert failures(*elsewhere, *(life(f"lost {i}", 20 + i) for i in range(8))) == []
    assert failures(life("a", 1, began="yesterday"), life("a", 2, began="yesterday")) == []
    assert failures(life("a", 1), life("a", 2), life("b", 3, IDLE), life("a", 4), life("a", 5)) == [4]
    assert failures(life("a", 1, BUSY), life("a", 2)) == [], "it had loaded"
    assert failed_loads([life("a", 1), life("a", 2)], "large", "here", "now") == []


def test_too_many_crashes_end_it_with_the_last_one_named_and_fewer_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(engine_host.time, "sleep", waited.append)
    for crashes in range(4):
        engine_host._back_off([life("a", i) for i in range(crashes)])
    assert waited == [2.0, 4.0, 8.0]
    with pytest.raises(
        RuntimeError, match=r"4 processes died while they loaded an engine \(small\).*process 3 on here"
    ):
        engine_host._back_off([life("a", i) for i in range(4)])


def test_the_meter_starts_before_the_host_waits_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(engine_host, "_back_off", lambda failed: seen.append(len(readings(RunDir(tmp_path)))))
    EngineHost(RunDir(tmp_path), "small", PoolConfig(), lambda: seen.append(len(readings(RunDir(tmp_path)))))
    assert seen == [1, 1]


def test_no_engine_is_loaded_again_once_its_start_has_planned_its_last_rows(tmp_path: Path) -> None:
    run, loaded = RunDir(tmp_path), list[str]()

    def start(kind: str) -> None:
        EngineHost(run, kind, PoolConfig(), lambda: loaded.append(kind))

    storage.write_json(tmp_path / "manifest.json", {"format": FORMAT, "started": "now"})
    start("large")
    run.write_plan({"entry": 0, LAST_LOADS: {"large": "now"}})
    with pytest.raises(NotLoaded, match="the budget does not pay for another load"):
        start("large")
    start("small")
    assert len(readings(run)) == 2, "what is not loaded is not metered"
    storage.write_json(tmp_path / "manifest.json", {"format": FORMAT, "started": "later"})
    start("large")
    assert loaded == ["large", "small", "large"]


def test_calls_at_once_are_bounded_and_a_suspect_shard_is_alone(tmp_path: Path) -> None:
    import threading

    host = EngineHost(RunDir(tmp_path), "small", PoolConfig(), lambda: None, calls=2)
    (tmp_path / "attempts" / "s").mkdir(parents=True)
    mark = '{"rows": 1, "start": 0, "stop": 1, "deaths": 0, "deaths_in_all": 0, "convicted": []}'
    (tmp_path / "attempts" / "s" / "shard-000000.json").write_text(mark)
    inside, most, lock = [], [], threading.Lock()

    def ask(shard: int, rows: "list[int]") -> "list[int]":
        with lock:
            inside.append(shard)
            most.append(list(inside))
        time.sleep(0.05)
        with lock:
            inside.remove(shard)
        return rows

    def call(shard: int) -> None:
        assert host.answers("s", shard, [1], lambda rows: ask(shard, list(rows)))[0] == [1]

    threads = [threading.Thread(target=call, args=(shard,)) for shard in (1, 2, 0, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(map(len, most)) == 2
    assert all(seen == [0] for seen in most if 0 in seen)


def test_an_engine_that_fails_on_every_row_fails_the_shard_and_convicts_no_row(tmp_path: Path) -> None:
    host = EngineHost(RunDir(tmp_path), "large", PoolConfig(), lambda: None)

    def ask(rows: "list[int]") -> "list[int]":
        raise EveryRowFailed("out of memory")

    for _ in range(20):
        with pytest.raises(EveryRowFailed, match="out of memory"):
            host.answers("large/000", 3, [1, 2, 3], ask)
    assert deaths(RunDir(tmp_path)) == []
    assert host.answers("large/000", 3, [1, 2, 3], lambda rows: rows)[0] == [1, 2, 3]


def test_an_engine_that_does_not_load_says_why_in_one_line(tmp_path: Path) -> None:
    def load() -> None:
        raise OSError("no such file:\n  model-00002-of-00003.safetensors")

    with pytest.raises(NotLoaded) as failed:
        EngineHost(RunDir(tmp_path), "large", PoolConfig(), load)
    assert (
        str(failed.value) == "an engine (large) did not load: OSError: no such file: model-00002-of-00003.safetensors"
    )


def test_no_garbage_is_collected_while_an_engine_loads_and_it_is_afterwards(tmp_path: Path) -> None:
    def fails() -> None:
        raise OSError(f"collects: {gc.isenabled()}")

    assert EngineHost(RunDir(tmp_path), "small", PoolConfig(), gc.isenabled).engine is False
    assert gc.isenabled()
    with pytest.raises(NotLoaded, match="collects: False"):
        EngineHost(RunDir(tmp_path), "small", PoolConfig(), fails)
    assert gc.isenabled()
