"""Reads the files of meters: the last reading of every process that held a model, and the amount that a run is charged
for it."""

import dataclasses
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from routelmt_ray import storage
from routelmt_ray.budget.price import Prices
from routelmt_ray.storage.rundir import RunDir

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


@dataclass(frozen=True)
class MeterReading:
    """The last reading that one process of an actor wrote."""

    kind: str
    """Purpose of the actor: `probe`, `small`, `large`, `judge`, `profile`, `metric`."""
    unit: str
    """`gpu_s` or `cpu_s`."""
    host: str
    pid: int
    gpus: float
    """GPUs that the actor reserved."""
    started: str
    """Start, UTC, ISO 8601."""
    updated: str
    """Last beat, UTC, ISO 8601."""
    device_s: float
    """Device-seconds held from the start to the last beat."""
    load_s: float
    """Device-seconds of these before the model was loaded."""
    busy_s: float
    """Device-seconds of these with work in flight."""
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
    usage: dict[str, float] = field(default_factory=dict)
    """Requests, tokens and seconds in flight at a server, where one runs the model."""
    beat_usage: dict[str, float] = field(default_factory=dict)
    """Most of each that was added between two beats."""
    model: str = ""
    """Model that the process held, `small` or `large`, where `kind` does not say so."""

    @property
    def at_work(self) -> bool:
        """True while the process loads its model or works with it."""
        return self.state in (LOADING, BUSY)

    @property
    def spends(self) -> bool:
        """True where device-seconds pass while it lives."""
        return self.at_work or (self.gpus > 0 and self.state != ENDED)


def readings(run: RunDir, prices: Prices | None = None) -> list[MeterReading]:
    """Reads the last reading of every actor that a run ever had, in no particular order; with prices, each is
    :func:`in_money`. Raises ValueError if a file cannot be read: to charge nothing for it would be wrong."""
    found = list(_by_name(run).values())
    return found if prices is None else [in_money(reading, prices) for reading in found]


def in_money(reading: MeterReading, prices: Prices) -> MeterReading:
    """Converts a reading to money: its fields in device-seconds are then in the currency, and hold the price of its tokens too."""
    price = prices.of(reading.model or reading.kind)
    tokens = price.tokens(reading.usage)
    return dataclasses.replace(
        reading,
        unit=prices.currency,
        device_s=price.second * reading.device_s + tokens,
        load_s=price.second * reading.load_s,
        busy_s=price.second * reading.busy_s + tokens,
        beat_s=price.second * reading.beat_s + price.tokens(reading.beat_usage),
        usage={},
    )


def fold(run: RunDir, now: float) -> int:
    """Merges the files of ended actors into one, where there are at least :data:`_MANY`; returns their number.

    The driver that holds the run directory calls it before its own actors start. If it is killed, nothing is lost or
    counted twice: a reading is known by the name of the file of its actor, in either place. `now` is the time in
    seconds since the epoch. An actor that only seems dead writes its file again at its next beat.
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
    storage.in_threads(lambda name: storage.remove(run.root / FOLDER / name), gone)
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
    addition. That is an upper bound, unless the beat that never came would have been later than all others. `now` is
    the time in seconds since the epoch. A process that is alive (:func:`is_alive`) is charged as read. It is None when
    the actors of a run have ended: none is alive then.
    """
    if reading.usage:  # it asks a server, and holds no device
        return 0.0
    lives = now is not None and is_alive(reading, now)
    return reading.device_s + (reading.beat_s if reading.spends and not lives else 0.0)


def unit(found: Collection[MeterReading]) -> str:
    """Names the unit in which a run is charged: ``gpu_s``, ``cpu_s``, or ``device_s`` where both occur."""
    units = {reading.unit for reading in found if not reading.usage} or {reading.unit for reading in found}
    return units.pop() if len(units) == 1 else "device_s"


def used(found: Iterable[MeterReading]) -> dict[str, float]:
    """Sums up what engines asked servers for; empty where no server runs a model."""
    total: dict[str, float] = {}
    for reading in found:
        for name, amount in reading.usage.items():
            total[name] = total.get(name, 0) + amount
    return total


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
    `found` has all readings of a run, that of the calling process included."""
    ours = [r for r in found if (r.kind, r.start) == (kind, start)]
    loaded = [r.started for r in ours if r.host == host and r.state != LOADING]
    return [
        r for r in crashed(ours) if r.state == LOADING and r.host == host and all(r.started > began for began in loaded)
    ]


def is_alive(reading: MeterReading, now: float) -> bool:
    """Tells whether the last beat of an actor is less than three intervals before `now` (seconds since the epoch)."""
    return now - datetime.fromisoformat(reading.updated).timestamp() < max(ALIVE_S, _ALIVE_BEATS * reading.heartbeat_s)


def total_s(
    run: RunDir, kinds: Collection[str] | None = None, now: float | None = None, prices: Prices | None = None
) -> float:
    """Computes the device-seconds that a run is charged so far.

    Args:
        kinds: purposes of the actors that count; None for all.
        now: see :func:`charged_s`.
        prices: with them, the result is money.
    """
    return sum(charged_s(reading, now) for reading in readings(run, prices) if kinds is None or reading.kind in kinds)
