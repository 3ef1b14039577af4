"""One driver at a time, here and on S3."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from routelmt_ray import storage
from routelmt_ray.storage import lease
from tests.conftest import ROOT

HOLDER = """
import sys, time
from routelmt_ray.storage import lease
lease.BEAT_S = 0.2
with lease.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(root) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def read(root) -> lease.Lease:
    return lease.Lease(**storage.read_json(root / lease.FILE))


def write(root, **changes) -> lease.Lease:
    other = dataclasses.replace(lease.Lease.own(), **changes)
    storage.write_bytes(root / lease.FILE, other.to_bytes())
    return other


def test_a_second_driver_is_refused_while_the_first_works_and_not_after(root) -> None:
    with lease.hold(root):
        with pytest.raises(lease.Held, match=rf"{root} is in use by process {os.getpid()} on .*since 20"):
            lease.hold(root).__enter__()
        assert storage.list_names(root) == [lease.FILE]
    assert storage.list_names(root) == []
    with pytest.raises(KeyError), lease.hold(root):
        raise KeyError
    assert storage.list_names(root) == []


def test_of_drivers_that_start_at_once_one_gets_it(root) -> None:
    for left in (None, b"", b"{}", lease.Lease.own().to_bytes().replace(b'"pid": ', b'"pid": 9999999')):
        if left is not None:
            storage.write_bytes(root / lease.FILE, left)
        taken, refused = [], []

        def take(taken=taken, refused=refused) -> None:
            try:
                taken.append(lease._take(root / lease.FILE))
            except lease.Held as error:
                refused.append(error)

        drivers = [threading.Thread(target=take) for _ in range(8)]
        for driver in drivers:
            driver.start()
        for driver in drivers:
            driver.join()
        assert (len(taken), len(refused)) == (1, 7)
        assert read(root) == taken[0]
        storage.remove(root / lease.FILE)


def test_what_a_killed_driver_left_is_taken_over_at_once(root) -> None:
    holder = start_holder(root)
    with pytest.raises(lease.Held, match=f"process {holder.pid} "):
        lease.hold(root).__enter__()
    holder.kill()
    holder.wait()
    started = time.monotonic()
    with lease.hold(root):
        assert time.monotonic() - started < 5
        assert read(root).pid == os.getpid()


def test_a_process_that_got_the_id_of_a_dead_one_is_not_taken_for_it(root) -> None:
    started_s, boot_s = psutil.Process().create_time(), lease.Lease.own().process_started_boot_s
    assert boot_s is not None
    for before in (boot_s - 100, None):
        write(root, process_started_s=started_s - 100, process_started_boot_s=before)
        with lease.hold(root):
            assert read(root).process_started_s == started_s


def test_a_driver_is_no_dead_one_because_the_clock_was_set(root) -> None:
    # What another process computes as this one's start moves with the clock.
    write(root, process_started_s=psutil.Process().create_time() - 7200)
    with pytest.raises(lease.Held):
        lease.hold(root).__enter__()


def test_on_another_machine_it_is_over_once_it_beats_no_more(root, monkeypatch, caplog) -> None:
    monkeypatch.setattr(lease, "WATCH_S", 0.3)
    other = write(root, host="far", machine="away", pid=1)
    with pytest.raises(lease.Held, match="process 1 on far"):
        lease.hold(root).__enter__()
    stale = write(root, host="far", machine="away", pid=1, beat_s=time.time() - 70)
    with lease.hold(root):
        assert read(root).id not in (other.id, stale.id)
    assert "is taken over from process 1 on far" in caplog.text


def test_a_machine_whose_clock_is_wrong_is_watched_and_left_alone(root, monkeypatch) -> None:
    monkeypatch.setattr(lease, "WATCH_S", 1.0)
    write(root, host="far", machine="away", beat_s=time.time() - 500)
    stop = threading.Event()

    def beat() -> None:
        n = 0
        while not stop.wait(0.3):
            n += 1
            write(root, host="far", machine="away", beat_s=time.time() - 490 + n)

    beats = threading.Thread(target=beat)
    beats.start()
    try:
        time.sleep(0.4)
        with pytest.raises(lease.Held):
            lease.hold(root).__enter__()
    finally:
        stop.set()
        beats.join()


def test_a_driver_whose_lease_was_taken_stops_and_leaves_it(root) -> None:
    holder = start_holder(root)
    beaten = read(root)
    deadline = time.monotonic() + 20
    while read(root) == beaten:
        assert time.monotonic() < deadline, "it never beat"
        time.sleep(0.05)
    other = write(root, host="far", machine="away", pid=7)
    _, said = holder.communicate(timeout=20)
    assert holder.returncode == 1
    assert "Lost: run_dir" in said
    assert f"was taken over by process 7 on far, at work since {other.started}; this driver stops" in said
    assert read(root) == other


def test_nothing_secret_is_in_it(root) -> None:
    with lease.hold(root):
        content = storage.read_bytes(root / lease.FILE)
    assert set(json.loads(content)) == {f.name for f in dataclasses.fields(lease.Lease)}
    assert b"of-the-tests" not in content
