"""Measures the device-seconds that a run has really spent, in one file for every process that held a model.

A run is charged for the time an actor holds its device, from its start to its end, with loading, idling and lost work.
With GPUs these are wall seconds times the number of reserved GPUs. Without GPUs they are the CPU seconds of its process
and of the processes it starts.

An actor may be killed at any moment, and then none of its code runs. So it writes its reading every
:data:`~routelmt_ray.runtime.readings.HEARTBEAT_S` seconds and at each change: a beat. No other process writes its file. Only the time after the last
beat is lost, and :func:`~routelmt_ray.runtime.readings.charged_s` adds an upper bound for it. Nothing is counted twice when a run is resumed.
"""

import dataclasses
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from routelmt_ray import storage
from routelmt_ray.runtime.readings import BUSY, ENDED, FOLDER, HEARTBEAT_S, IDLE, LOADING, S3_HEARTBEAT_S, MeterReading
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

_LOOK_S = 0.25
"""Least seconds between two searches for new children. Each reads a file of every process of the machine."""


class DeviceClock:
    """Counts the device-seconds of this process since the clock was made."""

    def __init__(self, gpus: float, whole_process: bool = False) -> None:
        """Starts to count. Without GPUs, of which a process may reserve a fraction, CPU seconds are counted, also of
        children. With `whole_process` the process does nothing else, and the time before the clock is counted too."""
        self._gpus = gpus
        self._process = psutil.Process()
        self._not_ours = {child.pid for child in self._process.children()}
        self._children: list[psutil.Process] = []
        self._children_s: dict[int, float] = {}  # by process id; the seconds of an ended process stay
        self._looked = time.monotonic()
        self.unit = "gpu_s" if gpus > 0 else "cpu_s"
        """The counted unit: ``gpu_s`` or ``cpu_s``."""
        self._started = self._now() - (self._until_now() if whole_process else 0.0)

    def _until_now(self) -> float:
        """Device-seconds since the start of the process, at most its CPU seconds: while it waited, it held no GPU."""
        if self._gpus > 0:
            return max(0.0, min(time.time() - self._process.create_time(), time.process_time())) * self._gpus
        return time.process_time()

    def seconds(self) -> float:
        """Gives the device-seconds so far."""
        return self._now() - self._started

    def _now(self) -> float:
        if self._gpus > 0:
            return time.monotonic() * self._gpus
        if time.monotonic() - self._looked > _LOOK_S:
            self._children = self._descendants()
            self._looked = time.monotonic()
        for process in self._children:  # an engine may run in separate processes
            try:
                spent = process.cpu_times()
            except psutil.Error:
                continue  # it has just ended
            self._children_s[process.pid] = spent.user + spent.system
        return time.process_time() + sum(self._children_s.values())

    def _descendants(self) -> list[psutil.Process]:
        """Lists the processes that this one has started since the clock was made, and those that they started."""
        found = []
        for child in self._process.children():
            if child.pid not in self._not_ours:
                try:
                    found += [child, *child.children(recursive=True)]
                except psutil.Error:
                    continue
        return found


@dataclass
class MeteredWork:
    """One piece of work."""

    device_s: float = 0.0
    """Device-seconds. Several pieces in flight get equal shares, so that all pieces together make `busy_s`."""
    wall_s: float = 0.0
    """Wall seconds, once the work has ended."""


class Meter:
    """Meters the process in which it is made. An actor makes it before all else."""

    def __init__(self, run: RunDir, kind: str, gpus: float, actor: str = "", start: str = "", model: str = "") -> None:
        """Starts to count, and to write readings.

        Readings are selected by `kind`, the purpose of the actor; `model` is the model that it holds, where `kind` does
        not say so. With the id that Ray gives to an actor, in a process with torch, the time before is counted too.
        `start` is the start of the job, as the manifest gives it.
        """
        # An actor without torch may live in a worker that did other things before.
        self._clock = DeviceClock(gpus, whole_process=bool(actor) and os.environ.get("USE_TORCH") == "1")
        self._path = run.root / FOLDER / f"{kind}-{uuid.uuid4().hex}.json"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._loading = True
        self._pieces: list[MeteredWork] = []  # in flight
        self._usage: Callable[[], dict[str, float]] = dict
        started = _utc_now()
        self._every_s = S3_HEARTBEAT_S if isinstance(run.root, storage.S3Path) else HEARTBEAT_S
        self._reading = MeterReading(
            kind, self._clock.unit, socket.gethostname(), os.getpid(), gpus, started, started, 0.0, 0.0, 0.0,
            self._every_s * (gpus or 1.0), 0, LOADING, self._every_s, start, actor, model=model,
        )  # fmt: skip
        self._beat()
        # A daemon, so that it does not keep a finished actor alive.
        threading.Thread(target=self._beat_regularly, name="meter", daemon=True).start()

    @property
    def reading(self) -> MeterReading:
        """The reading that was last written down."""
        return self._reading

    def loaded(self, usage: Callable[[], dict[str, float]] = dict) -> None:
        """Records that the model is loaded. `usage` sums up what the engine asked a server for; read at each beat."""
        self._usage = usage
        with self._change():
            self._loading = False

    @contextmanager
    def work(self) -> Iterator[MeteredWork]:
        """Meters the body as one piece of work, also if it fails. Several threads may do this at the same time."""
        piece, started = MeteredWork(), time.perf_counter()
        try:
            with self._change():
                self._pieces.append(piece)
            yield piece
        finally:
            piece.wall_s = time.perf_counter() - started
            with self._change():
                self._pieces = [other for other in self._pieces if other is not piece]
                self._reading = dataclasses.replace(self._reading, pieces=self._reading.pieces + 1)

    def close(self) -> None:
        """Ends the metering with a last reading, for an actor that learns of its end."""
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                self._advance()
                self._write()

    def _beat_regularly(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                self._beat()
            except OSError as error:  # the next beat contains everything, and a change that cannot be written raises
                log.warning("a beat of %s was not written: %s", self._path, error)

    def _beat(self) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._advance()
                self._write()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Counts the seconds up to a change that the body makes, and writes them down with it."""
        with self._lock:
            self._advance()
            yield
            self._write()

    def _advance(self) -> None:
        """Counts the seconds since the last call towards the state of that time."""
        last, now_s = self._reading, self._clock.seconds()
        spent_s = now_s - last.device_s
        for piece in self._pieces:
            piece.device_s += spent_s / len(self._pieces)
        self._reading = dataclasses.replace(
            last,
            updated=_utc_now(),
            device_s=now_s,
            load_s=last.load_s + (spent_s if self._loading and not self._pieces else 0.0),
            busy_s=last.busy_s + (spent_s if self._pieces else 0.0),
            beat_s=max(last.beat_s, spent_s),
            usage=(usage := self._usage()),
            beat_usage={k: max(last.beat_usage.get(k, 0.0), v - last.usage.get(k, 0.0)) for k, v in usage.items()},
        )

    def _write(self) -> None:
        state = BUSY if self._pieces else LOADING if self._loading else IDLE
        self._reading = dataclasses.replace(self._reading, state=ENDED if self._closed.is_set() else state)
        storage.write_json(self._path, dataclasses.asdict(self._reading), durable=False)


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
