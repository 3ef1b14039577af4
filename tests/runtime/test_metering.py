"""What actors spend is counted, also if they are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from routelmt_ray.runtime import metering
from routelmt_ray.runtime import readings as meter_readings
from routelmt_ray.runtime.metering import DeviceClock, Meter
from routelmt_ray.runtime.readings import charged_s, readings, total_s
from routelmt_ray.storage.rundir import RunDir
from tests.conftest import ROOT

# An actor as a process of its own: loads, says so, works in pieces without end, and prints its CPU seconds as it goes.
ACTOR = """
import sys, time
from routelmt_ray.runtime import metering
from routelmt_ray.storage.rundir import RunDir
metering.HEARTBEAT_S = float(sys.argv[5])
began = time.process_time()
meter = metering.Meter(RunDir(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(2000))
        print(time.process_time() - began, flush=True)
burn(0.15)
if sys.argv[4] != "loading":
    meter.loaded()
    with meter.work():
        burn(0.15 if sys.argv[4] == "idle" else 600)
print("idle", flush=True)
while True:
    time.sleep(0.05)
    print(time.process_time() - began, flush=True)  # beats take CPU time too
"""
BEAT_S = 0.2


def test_what_a_server_was_asked_for_is_kept_and_no_device_is_charged(tmp_path: Path) -> None:
    run, asked = RunDir(tmp_path), {"requests": 3.0, "prompt_tokens": 70.0}
    served, here = Meter(run, "large", 0.0), Meter(run, "small", 1.0)
    served.loaded(lambda: asked)
    with served.work():
        spend(0.02)
        asked["requests"] = 5.0
    found = {reading.kind: reading for reading in readings(run)}
    assert found["large"].usage == {"requests": 5.0, "prompt_tokens": 70.0} and found["small"].usage == {}
    assert found["large"].beat_usage == {"requests": 3.0, "prompt_tokens": 70.0}, (
        "the most that was added between two beats"
    )
    assert charged_s(found["large"]) == 0.0 < found["large"].device_s
    assert meter_readings.unit(readings(run)) == "gpu_s"
    assert meter_readings.used([found["large"], found["small"], found["large"]])["requests"] == 10.0
    for meter in (served, here):
        meter.close()


def spend(cpu_s: float) -> None:
    """Burns CPU seconds of this thread."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        sum(range(2000))


def start_actor(run: RunDir, kind: str, gpus: float, until: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", ACTOR, str(run.root), kind, str(gpus), until, str(BEAT_S)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def beats_in_time(run: RunDir, actor: subprocess.Popen[str]) -> bool:
    """False while a beat is all but due: on a busy machine it may come late, and what is spent by then is in no bound."""
    (reading,) = (reading for reading in readings(run) if reading.pid == actor.pid)
    return time.time() - datetime.fromisoformat(reading.updated).timestamp() < BEAT_S / 2


def kill_when(run: RunDir, actor: subprocess.Popen[str], cpu_s: float) -> float:
    """SIGKILL between two beats once the actor has spent so much, or is idle; returns the last CPU seconds it told of."""
    told = 0.0
    assert actor.stdout is not None
    for line in actor.stdout:
        if line == "idle\n":
            time.sleep(0.5)
            break
        told = float(line)
        if told >= cpu_s and beats_in_time(run, actor):
            break
    actor.send_signal(signal.SIGKILL)
    told = max([told, *(float(line) for line in actor.stdout if line != "idle\n")])  # said before the signal came
    actor.wait()
    return told


@pytest.mark.parametrize(("until", "state"), [("busy", "busy"), ("loading", "loading"), ("idle", "idle")])
def test_a_killed_actor_is_charged_all_it_spent_and_little_more(tmp_path: Path, until: str, state: str) -> None:
    run = RunDir(tmp_path)
    told = kill_when(run, start_actor(run, "large", 0, until), 0.6 if until == "busy" else 600)
    (reading,) = readings(run)
    assert (reading.kind, reading.unit, reading.state) == ("large", "cpu_s", state)
    assert reading.device_s <= told + 0.01
    charged = charged_s(reading)
    assert charged >= told - 0.05, "what came after the last beat is charged"
    assert charged <= told + 2 * reading.beat_s
    assert reading.device_s == pytest.approx(reading.load_s + reading.busy_s, abs=0.05), "sleep costs no CPU"
    assert (reading.busy_s == 0) == (until == "loading")
    assert charged == reading.device_s + (0 if state == "idle" else reading.beat_s)


def test_a_killed_actor_with_half_a_gpu_is_charged_half_its_wall_seconds(tmp_path: Path) -> None:
    run, began = RunDir(tmp_path), time.monotonic()
    kill_when(run, start_actor(run, "large", 0.5, "idle"), 600)
    wall_s = time.monotonic() - began
    (reading,) = readings(run)
    assert (reading.unit, reading.gpus, reading.state) == ("gpu_s", 0.5, "idle")
    assert charged_s(reading) == reading.device_s + reading.beat_s, "a GPU is held by an idle actor too"
    assert 0.5 * 0.8 <= reading.device_s <= 0.5 * wall_s
    assert reading.load_s > 0 and reading.busy_s > 0 and reading.pieces == 1
    assert reading.device_s > reading.load_s + reading.busy_s + 0.1, "idle seconds are held seconds"


def test_incarnations_add_up_and_a_resumed_run_leaves_their_files_alone(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    told = [kill_when(run, start_actor(run, "small", 0, "busy"), cpu_s) for cpu_s in (0.4, 0.6)]
    before = {path: path.read_bytes() for path in (tmp_path / "meter").iterdir()}
    (tmp_path / "meter" / ".small-x.json.y.tmp").write_text("half a beat")
    run.remove_leftovers()
    meter = Meter(run, "judge", 0)
    meter.close()
    assert {path: path.read_bytes() for path in before} == before
    assert len(list((tmp_path / "meter").iterdir())) == 3
    assert sum(told) - 0.1 <= total_s(run, ["small"]) <= sum(told) + 1.5
    assert total_s(run) == pytest.approx(total_s(run, {"small"}) + total_s(run, {"judge"}))
    assert total_s(run, ["large"]) == 0


def test_a_living_actor_is_charged_as_read_and_a_silent_one_more(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    meter = Meter(run, "large", 0)
    (reading,) = readings(run)
    assert charged_s(reading, time.time()) == reading.device_s
    assert charged_s(reading, time.time() + meter_readings.ALIVE_S) == reading.device_s + reading.beat_s
    assert charged_s(reading) == reading.device_s + reading.beat_s
    meter.close()
    (reading,) = readings(run)
    assert reading.state == "ended" and charged_s(reading) == reading.device_s
    assert charged_s(replace(reading, gpus=2.0)) == reading.device_s


def test_a_process_that_beats_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "HEARTBEAT_S", 0.05)
    run = RunDir(tmp_path)
    meter = Meter(run, "large", 1)
    first = readings(run)[0].device_s
    time.sleep(0.3)
    assert readings(run)[0].device_s >= first + 0.2
    assert [name for name in os.listdir(tmp_path / "meter") if name.endswith(".json")] == os.listdir(tmp_path / "meter")
    meter.close()
    last = readings(run)
    time.sleep(0.2)
    assert readings(run) == last


def test_pieces_in_flight_at_once_share_what_is_spent(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    meter = Meter(run, "large", 1)
    meter.loaded()
    both, taken = threading.Barrier(2), []

    def work(alone_s: float) -> None:
        with meter.work() as took:
            both.wait()
            time.sleep(0.2 + alone_s)
        taken.append(took.device_s)

    threads = [threading.Thread(target=work, args=(alone_s,)) for alone_s in (0.0, 0.3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meter.close()
    (reading,) = readings(run)
    assert sum(taken) == pytest.approx(reading.busy_s), "no second is counted twice"
    assert 0.5 <= reading.busy_s <= reading.device_s
    assert min(taken) < max(taken) < reading.busy_s, "while both were in flight each was charged a part"
    assert reading.pieces == 2 and reading.state == "ended"


def test_work_that_fails_is_charged_too(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    meter = Meter(run, "large", 0)
    meter.loaded()

    def fail() -> None:
        with meter.work():
            spend(0.05)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert meter.reading.state == "idle" and meter.reading.busy_s >= 0.05
    meter.close()


def test_the_cpu_clock_counts_all_threads_and_no_sleep() -> None:
    clock = DeviceClock(0)
    threads = [threading.Thread(target=spend, args=(0.1,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.2)
    assert clock.unit == "cpu_s"
    assert 0.3 <= clock.seconds() <= 0.5


def test_a_broken_reading_is_refused_with_its_name(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert readings(run) == [] and total_s(run) == 0
    for content in ("", "[]", json.dumps({"kind": "large"})):
        (tmp_path / "meter").mkdir(exist_ok=True)
        (tmp_path / "meter" / "large-1.json").write_text(content)
        with pytest.raises(ValueError, match=r"meter/large-1\.json: not a meter reading"):
            readings(run)


def test_importing_it_imports_neither_ray_nor_torch() -> None:
    code = "import sys, routelmt_ray.runtime.metering; sys.exit(any(m in sys.modules for m in ('ray', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_cpu_clock_counts_processes_it_starts_and_no_others() -> None:
    burn = [
        sys.executable,
        "-c",
        "import time\nwhile time.process_time() < 0.5: pass\nprint('.', flush=True)\ntime.sleep(60)",
    ]
    with subprocess.Popen(burn, stdout=subprocess.PIPE) as before:
        clock = DeviceClock(0)
        with subprocess.Popen(burn, stdout=subprocess.PIPE) as ours:
            for process in (before, ours):
                assert process.stdout is not None
                process.stdout.readline()
            while_alive_s = clock.seconds()
            ours.kill()
        after_s = clock.seconds()
        before.kill()
    assert 0.45 <= while_alive_s < 0.9
    assert after_s >= while_alive_s, "what it spent stays counted"


def test_the_cpu_clock_does_not_look_for_processes_each_time_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looked = DeviceClock(0), list[float]()
    monkeypatch.setattr(clock._process, "children", lambda: looked.append(clock._looked) or [])
    for _ in range(200):
        clock.seconds()
    assert len(looked) < 10
    clock._looked -= 1
    clock.seconds()
    assert looked and clock._looked > looked[-1]
