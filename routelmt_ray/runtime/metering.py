"""Measures the device-seconds that a run has really spent, in one file for every process that held a model.

A run is charged for the time an actor holds its device, from its start to its end, with loading, idling and lost work.
With GPUs these are wall seconds times the number of reserved GPUs. Without GPUs they are the CPU seconds of its process
and of the processes it starts.

An actor may be killed at any moment, and then none of its code runs. So it writes its reading every
:data:`HEARTBEAT_S` seconds and at each change: a beat. No other process writes its file. Only the time after the last
beat is lost, and :func:`charged_s` adds an upper bound for it. Nothing is counted twice when a run is resumed.
"""

import dataclasses
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from routelmt_ray import storage
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
"""Wall seconds between two beats."""
S3_HEARTBEAT_S = 10.0
"""Wall seconds between two beats on S3, where every beat is a request that costs money."""
_ALIVE_BEATS = 3
ALIVE_S = _ALIVE_BEATS * HEARTBEAT_S
"""An actor whose last beat is older than these seconds has died; on S3 it is three of the longer beats. One or two
beats may be late on a busy machine."""
FOLDER = "meter"
"""Folder of the readings in a run directory."""
_FOLDED = "ended.json"
"""File with the readings of actors that ended before a start of the job, by the name of the file each had."""
_MANY = 64
"""Fewer files of ended actors than this are not merged."""
LOADING, IDLE, BUSY, ENDED = "loading", "idle", "busy", "ended"


class DeviceClock:
    """Counts the device-seconds of this process since the clock was made."""

    def __init__(self, gpus: float, whole_process: bool = False) -> None:
        """Starts to count.

        Args:
            gpus: GPUs that the process reserved, may be a fraction. With 0, CPU seconds are counted, also of children.
            whole_process: True where the process does nothing else. The time before the clock is then counted too.
        """
        self._gpus = gpus
        self._process = psutil.Process()
        self._not_ours = {child.pid for child in self._process.children()}
        self._children_s: dict[int, float] = {}  # by process id; the seconds of an ended process stay
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
        for child in self._process.children():  # an engine may run in separate processes
            if child.pid in self._not_ours:
                continue
            try:
                for process in (child, *child.children(recursive=True)):
                    spent = process.cpu_times()
                    self._children_s[process.pid] = spent.user + spent.system
            except psutil.Error:
                continue  # it has just ended
        return time.process_time() + sum(self._children_s.values())


@dataclass(frozen=True)
class MeterReading:
    """The last reading that one process of an actor wrote."""

    kind: str
    """Purpose of the actor: `probe`, `small`, `large`, `judge`, `profile`, `metric`."""
    unit: str
    """`gpu_s` or `cpu_s`."""
    host: str
    """Name of the machine."""
    pid: int
    """Id of the process."""
    gpus: float
    """GPUs that the actor reserved."""
    started: str
    """Start, UTC, ISO 8601."""
    updated: str
    """Last beat, UTC, ISO 8601."""
    device_s: float
    """Device-seconds held from the start to the last beat."""
    load_s: float
    """Of these, before the model was loaded."""
    busy_s: float
    """Of these, with work in flight."""
    beat_s: float
    """Most device-seconds between two beats so far, and at least those of a regular interval: an upper bound for
    the time after the last beat."""
    pieces: int
    """Pieces of work that ended."""
    state: str
    """`loading`, `idle`, `busy`, or `ended` if the actor closed its meter."""
    heartbeat_s: float = HEARTBEAT_S
    """Wall seconds between two beats."""
    start: str = ""
    """Start of the job to which it belongs, as the manifest gives it."""
    actor: str = ""
    """Id that Ray gives to the actor. It stays the same when Ray starts the actor again. Empty outside an actor."""


@dataclass
class MeteredWork:
    """One piece of work."""

    device_s: float = 0.0
    """Its device-seconds. Several pieces in flight get equal shares, so that all pieces together make `busy_s`."""
    wall_s: float = 0.0
    """Its wall seconds, once it has ended."""


class Meter:
    """Meters the process in which it is made. An actor makes it before all else."""

    def __init__(self, run: RunDir, kind: str, gpus: float, actor: str = "", start: str = "") -> None:
        """Starts to count, and to write readings.

        Args:
            run: the run that is charged.
            kind: purpose of the actor; readings are selected by it.
            gpus: GPUs that the actor reserved (`pool.gpus`).
            actor: id that Ray gives to the actor. With one, in a process with torch, the time before is counted too.
            start: start of the job, as the manifest gives it.
        """
        # An actor without torch may live in a worker that did other things before.
        self._clock = DeviceClock(gpus, whole_process=bool(actor) and os.environ.get("USE_TORCH") == "1")
        self._path = run.root / FOLDER / f"{kind}-{uuid.uuid4().hex}.json"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._loading = True
        self._pieces: list[MeteredWork] = []  # in flight
        started = _utc_now()
        self._every_s = S3_HEARTBEAT_S if isinstance(run.root, storage.S3Path) else HEARTBEAT_S
        self._reading = MeterReading(
            kind, self._clock.unit, socket.gethostname(), os.getpid(), gpus, started, started, 0.0, 0.0, 0.0,
            self._every_s * (gpus or 1.0), 0, LOADING, self._every_s, start, actor,
        )  # fmt: skip
        self._beat()
        # A daemon, so that it does not keep a finished actor alive.
        threading.Thread(target=self._beat_regularly, name="meter", daemon=True).start()

    @property
    def reading(self) -> MeterReading:
        """What was last written down."""
        return self._reading

    def loaded(self) -> None:
        """Records that the model is loaded."""
        with self._lock:
            self._advance()
            self._loading = False
            self._write()

    @contextmanager
    def work(self) -> Iterator[MeteredWork]:
        """Meters the body as one piece of work, also if it fails. Several threads may do this at the same time."""
        piece, started = MeteredWork(), time.perf_counter()
        try:
            with self._lock:
                self._advance()
                self._pieces.append(piece)
                self._write()
            yield piece
        finally:
            piece.wall_s = time.perf_counter() - started
            with self._lock:
                self._advance()
                self._pieces = [other for other in self._pieces if other is not piece]
                self._reading = dataclasses.replace(self._reading, pieces=self._reading.pieces + 1)
                self._write()

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
        )

    def _write(self) -> None:
        state = BUSY if self._pieces else LOADING if self._loading else IDLE
        self._reading = dataclasses.replace(self._reading, state=ENDED if self._closed.is_set() else state)
        storage.write_json(self._path, dataclasses.asdict(self._reading), durable=False)


def readings(run: RunDir) -> list[MeterReading]:
    """Reads the last reading of every actor that a run ever had, in no particular order.

    Raises:
        ValueError: a file cannot be read. To charge nothing for it would be wrong.
    """
    return list(_by_name(run).values())


def fold(run: RunDir, now: float) -> int:
    """Merges the files of ended actors into one, where there are at least :data:`_MANY`.

    The driver that holds the run directory calls it before its own actors start. If it is killed, nothing is lost or
    counted twice: a reading is known by the name of the file of its actor, in either place.

    Args:
        run: the run.
        now: the time in seconds since the epoch. An actor that only seems dead writes its file again at its next beat.

    Returns:
        The number of merged files.
    """
    try:
        found = _by_name(run)
    except ValueError:  # a caller that needs the readings reports it
        return 0
    files = [name for name in storage.list_names(run.root / FOLDER) if name != _FOLDED]
    gone = [name for name in files if name in found and not _beats(found[name], now)]
    if len(gone) < _MANY:
        return 0
    kept = {name: dataclasses.asdict(reading) for name, reading in found.items() if not _beats(reading, now)}
    storage.write_json(run.root / FOLDER / _FOLDED, kept)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: storage.remove(run.root / FOLDER / name), gone))
    return len(gone)


def _beats(reading: MeterReading, now: float) -> bool:
    return reading.state != ENDED and is_alive(reading, now)


def _by_name(run: RunDir) -> dict[str, MeterReading]:
    """All readings, by the name of the file that each actor writes."""
    files = run.parsed(FOLDER, _read)
    folded = files.pop(_FOLDED, {})
    # A file beside a merged reading is of an actor that was wrongly believed dead, and is newer.
    return folded | {name: reading for one in files.values() for name, reading in one.items()}


def _read(path: storage.Location) -> dict[str, MeterReading]:
    """The content of a file: one reading, or the merged ones."""
    try:
        content = storage.read_json(path)
        of = content if path.name == _FOLDED else {path.name: content}
        return {name: MeterReading(**fields) for name, fields in of.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a meter reading ({error}); remove it to go on without what that actor spent"
        ) from None


def charged_s(reading: MeterReading, now: float | None = None) -> float:
    """Computes the device-seconds that a run is charged for one process of an actor.

    A process that died while it loaded, worked or held a GPU spent more after its last beat. It is charged `beat_s` in
    addition. That is an upper bound, unless the beat that never came would have been later than all others.

    Args:
        reading: its last reading.
        now: the time in seconds since the epoch. A process that is alive (:func:`is_alive`) is charged as read. None
            when the actors of a run have ended: none is alive then.
    """
    lives = now is not None and is_alive(reading, now)
    spends = reading.state in (LOADING, BUSY) or (reading.gpus > 0 and reading.state != ENDED)
    return reading.device_s + (reading.beat_s if spends and not lives else 0.0)


def crashed(found: Collection[MeterReading]) -> list[MeterReading]:
    """Finds the readings of processes that crashed, oldest first.

    Ray starts an actor again, under the same id, only after a death that it did not order itself. So if an actor has a
    later process, the earlier one crashed or its machine was lost.
    """
    lives: dict[str, list[MeterReading]] = {}
    for reading in sorted(found, key=lambda reading: reading.started):
        if reading.actor:
            lives.setdefault(reading.actor, []).append(reading)
    return sorted((r for one in lives.values() for r in one[:-1] if r.state != ENDED), key=lambda r: r.started)


def failed_loads(found: Collection[MeterReading], kind: str, host: str, start: str) -> list[MeterReading]:
    """Finds the crashes during the loading of an engine on a machine in this start of the job, after its last success.

    Args:
        found: all readings of a run, that of the calling process included.
        kind: purpose of the actors.
        host: the machine.
        start: start of the job, as the manifest gives it.
    """
    ours = [r for r in found if (r.kind, r.start) == (kind, start)]
    loaded = [r.started for r in ours if r.host == host and r.state != LOADING]
    return [
        r for r in crashed(ours) if r.state == LOADING and r.host == host and all(r.started > began for began in loaded)
    ]


def is_alive(reading: MeterReading, now: float) -> bool:
    """Tells whether the last beat of an actor is less than three intervals before `now` (seconds since the epoch)."""
    return now - datetime.fromisoformat(reading.updated).timestamp() < max(ALIVE_S, _ALIVE_BEATS * reading.heartbeat_s)


def total_s(run: RunDir, kinds: Collection[str] | None = None, now: float | None = None) -> float:
    """Computes the device-seconds that a run is charged so far.

    Args:
        run: the run.
        kinds: purposes of the actors that count; None for all.
        now: see :func:`charged_s`.
    """
    return sum(charged_s(reading, now) for reading in readings(run) if kinds is None or reading.kind in kinds)


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
