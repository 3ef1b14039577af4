"""Device-seconds that a run has really spent: a heartbeat file for every actor that ever held a model.

Charged is what an actor holds, from its start to its end, loading, idling and lost work included. With GPUs these are
wall seconds times the GPUs it reserved; without, CPU seconds of its process and those it starts. An actor may be killed at any
moment and no code of its own runs then, so it writes its reading down every :data:`HEARTBEAT_S` seconds and at each
change, into a file that nobody else ever writes: nothing is lost but what came after the last beat, for which
:func:`charged_s` adds an upper bound, and nothing is counted twice when a run is resumed.
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
"""The same on S3, where every beat is a request that is paid for."""
_ALIVE_BEATS = 3
ALIVE_S = _ALIVE_BEATS * HEARTBEAT_S
"""An actor whose last beat is older has died (on S3: older than as many beats there); one or two may be late on a busy
machine."""
FOLDER = "meter"
"""Where in a run directory the readings are."""
_FOLDED = "ended.json"
"""The readings of actors that ended before the last start, by the name of their own file."""
_MANY = 64
"""Fewer files are left as they are."""
LOADING, IDLE, BUSY, ENDED = "loading", "idle", "busy", "ended"


class DeviceClock:
    """Device-seconds this process has held since the clock was made."""

    def __init__(self, gpus: float, whole_process: bool = False) -> None:
        """Starts to count.

        Args:
            gpus: GPUs the process reserved, fractions allowed; 0 counts CPU seconds instead, its children's too.
            whole_process: True where the process serves nothing else: what it took until now is counted too.
        """
        self._gpus = gpus
        self._process = psutil.Process()
        self._not_ours = {child.pid for child in self._process.children()}
        self._children_s: dict[int, float] = {}  # by process id; what one that has ended had spent stays counted
        self.unit = "gpu_s" if gpus > 0 else "cpu_s"
        """What is counted."""
        self._started = self._now() - (self._until_now() if whole_process else 0.0)

    def _until_now(self) -> float:
        """Device-seconds from the start of the process; one that was started ahead held no GPU while it waited."""
        if self._gpus > 0:
            return max(0.0, min(time.time() - self._process.create_time(), time.process_time())) * self._gpus
        return time.process_time()

    def seconds(self) -> float:
        """Device-seconds so far."""
        return self._now() - self._started

    def _now(self) -> float:
        if self._gpus > 0:
            return time.monotonic() * self._gpus
        for child in self._process.children():  # an engine may run in processes of its own
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
class Reading:
    """What one incarnation of an actor last wrote down."""

    kind: str
    """What it is for: `probe`, `small`, `large`, `judge`, `profile`."""
    unit: str
    """`gpu_s` or `cpu_s`."""
    host: str
    """Machine."""
    pid: int
    """Process."""
    gpus: float
    """GPUs it reserved."""
    started: str
    """Start, UTC, ISO 8601."""
    updated: str
    """Last beat, UTC, ISO 8601."""
    device_s: float
    """Device-seconds held from the start to the last beat."""
    load_s: float
    """Of these, until the model was loaded."""
    busy_s: float
    """Of these, with work in flight."""
    beat_s: float
    """Most device-seconds between two beats so far, and at least a regular interval's: what may follow the last beat."""
    pieces: int
    """Pieces of work that ended."""
    state: str
    """`loading`, `idle`, `busy`, or `ended` where it said so itself."""
    heartbeat_s: float = HEARTBEAT_S
    """Wall seconds between two beats."""
    start: str = ""
    """Start of the job it belongs to, as the manifest names it."""
    actor: str = ""
    """Ray's id of the actor; one that Ray starts again after a death keeps it. Empty outside of an actor."""


@dataclass
class Piece:
    """One piece of work."""

    device_s: float = 0.0
    """Its device-seconds; while several are in flight each is given an equal share, so that together they are `busy_s`."""
    wall_s: float = 0.0
    """Its wall seconds, once it has ended."""


class Meter:
    """Meters the process it is made in; the first thing an actor makes."""

    def __init__(self, run: RunDir, kind: str, gpus: float, actor: str = "", start: str = "") -> None:
        """Starts to count and to beat.

        Args:
            run: the run that is charged.
            kind: what the actor is for; readings are selected by it.
            gpus: GPUs it reserved (`pool.gpus`).
            actor: Ray's id of the actor; what its process has taken before this is counted too.
            start: of the job, as the manifest names it.
        """
        # An actor without torch may live in a worker that did other things before.
        self._clock = DeviceClock(gpus, whole_process=bool(actor) and os.environ.get("USE_TORCH") == "1")
        self._path = run.root / FOLDER / f"{kind}-{uuid.uuid4().hex}.json"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._loading = True
        self._pieces: list[Piece] = []  # in flight
        started = _utc_now()
        self._every_s = S3_HEARTBEAT_S if isinstance(run.root, storage.S3Path) else HEARTBEAT_S
        self._reading = Reading(
            kind, self._clock.unit, socket.gethostname(), os.getpid(), gpus, started, started, 0.0, 0.0, 0.0,
            self._every_s * (gpus or 1.0), 0, LOADING, self._every_s, start, actor,
        )  # fmt: skip
        self._beat()
        # A daemon: it must not keep alive an actor that is done.
        threading.Thread(target=self._beat_regularly, name="meter", daemon=True).start()

    @property
    def reading(self) -> Reading:
        """What was last written down."""
        return self._reading

    def loaded(self) -> None:
        """Says that the model is loaded."""
        with self._lock:
            self._advance()
            self._loading = False
            self._write()

    @contextmanager
    def work(self) -> Iterator[Piece]:
        """Meters the body as one piece of work, whatever becomes of it; several threads may be in one at a time."""
        piece, started = Piece(), time.perf_counter()
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
        """Ends the metering with a last reading, where an actor gets to know of its end."""
        with self._lock:
            if not self._closed.is_set():
                self._closed.set()
                self._advance()
                self._write()

    def _beat_regularly(self) -> None:
        while not self._closed.wait(self._every_s):
            try:
                self._beat()
            except OSError as error:  # the next beat has it all, and a change that cannot be written raises
                log.warning("a beat of %s was not written: %s", self._path, error)

    def _beat(self) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._advance()
                self._write()

    def _advance(self) -> None:
        """Counts what was spent since the last time, towards the state of that time."""
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


def readings(run: RunDir) -> list[Reading]:
    """The last reading of every actor a run ever had, in no particular order.

    Raises:
        ValueError: a file cannot be read; it would be wrong to charge nothing for it.
    """
    return list(_by_name(run).values())


def fold(run: RunDir, now: float) -> int:
    """Puts the last readings of actors that have ended into one file, where they are many.

    For the driver that holds the run directory, before its own actors start. Nothing is lost or counted twice wherever it
    is killed: a reading has the name of its actor's file in either place.

    Args:
        run: the run.
        now: the time in seconds since the epoch; an actor that only seems dead writes its file again with its next beat.

    Returns:
        How many files were put into one.
    """
    try:
        found = _by_name(run)
    except ValueError:  # whoever needs the readings says so
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


def _beats(reading: Reading, now: float) -> bool:
    return reading.state != ENDED and is_alive(reading, now)


def _by_name(run: RunDir) -> dict[str, Reading]:
    """The readings by the name of the file that each actor writes."""
    files = run.parsed(FOLDER, _read)
    folded = files.pop(_FOLDED, {})
    # A file beside the folded ones is of an actor that was taken for dead, and knows better.
    return folded | {name: reading for one in files.values() for name, reading in one.items()}


def _read(path: storage.Location) -> dict[str, Reading]:
    """What a file holds: one reading, or those that were folded."""
    try:
        content = storage.read_json(path)
        of = content if path.name == _FOLDED else {path.name: content}
        return {name: Reading(**fields) for name, fields in of.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not a meter reading ({error}); remove it to go on without what that actor spent"
        ) from None


def charged_s(reading: Reading, now: float | None = None) -> float:
    """Device-seconds an incarnation is charged.

    One that died while it loaded, worked or held a GPU went on spending after its last beat: it is charged
    `beat_s` more, which bounds what that can have been unless the beat that was due then was the latest of all.

    Args:
        reading: its last reading.
        now: the time in seconds since the epoch: one that has beaten in the last :data:`ALIVE_S` seconds is taken to
            live and charged as read. None, when the actors of a run have ended: none lives any more.
    """
    lives = now is not None and is_alive(reading, now)
    spends = reading.state in (LOADING, BUSY) or (reading.gpus > 0 and reading.state != ENDED)
    return reading.device_s + (reading.beat_s if spends and not lives else 0.0)


def crashed(found: Collection[Reading]) -> list[Reading]:
    """The readings of processes that died although nobody ended them, oldest first.

    Ray starts an actor again, under the same id, only after a death that it did not order itself. So a process whose actor
    has a later one has crashed, or its machine was lost; no clock has to be trusted.
    """
    lives: dict[str, list[Reading]] = {}
    for reading in sorted(found, key=lambda reading: reading.started):
        if reading.actor:
            lives.setdefault(reading.actor, []).append(reading)
    return sorted((r for one in lives.values() for r in one[:-1] if r.state != ENDED), key=lambda r: r.started)


def failed_loads(found: Collection[Reading], kind: str, host: str, start: str) -> list[Reading]:
    """Crashes while such an engine loaded on a machine in this start of the job, since one last did load there.

    Args:
        found: all readings of a run, that of the process that asks included.
        kind: what the actors are for.
        host: the machine.
        start: of the job, as the manifest names it.
    """
    ours = [r for r in found if (r.kind, r.start) == (kind, start)]
    loaded = [r.started for r in ours if r.host == host and r.state != LOADING]
    return [
        r for r in crashed(ours) if r.state == LOADING and r.host == host and all(r.started > began for began in loaded)
    ]


def is_alive(reading: Reading, now: float) -> bool:
    """True where an actor has beaten in the last :data:`ALIVE_S` seconds before `now`, in seconds since the epoch."""
    return now - datetime.fromisoformat(reading.updated).timestamp() < max(ALIVE_S, _ALIVE_BEATS * reading.heartbeat_s)


def total_s(run: RunDir, kinds: Collection[str] | None = None, now: float | None = None) -> float:
    """Device-seconds a run is charged so far.

    Args:
        run: the run.
        kinds: which actors; None is all.
        now: see :func:`charged_s`.
    """
    return sum(charged_s(reading, now) for reading in readings(run) if kinds is None or reading.kind in kinds)


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
