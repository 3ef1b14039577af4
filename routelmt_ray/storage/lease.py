"""Lets one driver at a time work in a run directory.

``lease.json`` names the driver, which writes the file again every :data:`BEAT_S` seconds: a beat. The file is created
only where there is none, and replaced only if nobody has changed it since it was read. So of two drivers only one gets
it.

The lease of a dead driver is taken over. This happens at once where its process is known to be gone. Otherwise the last
beat must be older than :data:`STALE_S` seconds, and the lease must not change while it is watched for :data:`WATCH_S`
seconds, as the clocks of two machines may differ.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psutil

from routelmt_ray import storage

log = logging.getLogger(__name__)

FILE = "lease.json"
BEAT_S = 10.0
"""Wall seconds between two beats."""
STALE_S = 60.0
"""A lease whose last beat is older than these seconds may belong to a dead driver."""
WATCH_S = 1.5 * BEAT_S
"""Seconds that such a lease is watched before it is taken over."""
_SIGNAL = signal.SIGUSR2  # SIGINT is ignored in a job that a script puts in the background


class Held(ValueError):
    """Another driver is at work in the run directory."""


class Lost(RuntimeError):
    """Another driver has taken the run directory over."""


@dataclass(frozen=True)
class Lease:
    """The driver that works in a run directory, as ``lease.json`` names it."""

    host: str
    machine: str
    """Tells machines and containers of the same name apart. A process id is valid only inside one of them."""
    pid: int
    process_started_s: float
    """Start of the process, seconds since the epoch. Another process may get the same id later."""
    id: str
    started: str
    """Time at which the lease was taken, UTC, ISO 8601."""
    beat_s: float
    """Last beat, seconds since the epoch by the clock of its machine."""
    process_started_boot_s: float | None = None
    """Start of the process, seconds since the boot of its machine. A change of the clock does not alter it. None
    where the machine does not tell."""

    @classmethod
    def own(cls) -> "Lease":
        """Builds a new lease for this process."""
        started = datetime.now(UTC).isoformat(timespec="seconds")
        process_s = psutil.Process().create_time()
        host, pid, name = socket.gethostname(), os.getpid(), uuid.uuid4().hex
        return cls(host, _machine(), pid, process_s, name, started, time.time(), _started_boot_s(pid))

    def to_bytes(self) -> bytes:
        """Writes the lease as the JSON of its file."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    def is_dead(self) -> bool:
        """Tells whether its process ran on this machine and is gone."""
        if self.machine != _machine():
            return False
        try:
            started_s = psutil.Process(self.pid).create_time()
        except psutil.Error:
            return True
        boot_s = _started_boot_s(self.pid)
        if boot_s is not None and self.process_started_boot_s is not None:
            return boot_s != self.process_started_boot_s
        return abs(started_s - self.process_started_s) > 1

    def is_fresh(self) -> bool:
        """Tells whether its last beat is less than :data:`STALE_S` seconds from now, in the past or the future."""
        return abs(time.time() - self.beat_s) < STALE_S


def _machine() -> str:
    """Names a boot of a machine, and the container on it where there is one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        return socket.gethostname()


def _started_boot_s(pid: int) -> float | None:
    """Finds the start of a process of this machine, seconds since the boot; None where this is not known."""
    try:
        # Fields follow the name of the program in parentheses, which may hold anything; see proc(5), starttime.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


@contextmanager
def hold(run_dir: str | storage.Location) -> Iterator[None]:
    """Holds the lease of a run directory while the body runs. Raises Held if another driver has it, and names the
    driver; Lost if another driver took it over while the body ran, which was ended; and AddressRefused if the run
    directory is on an S3 server that could give it to two drivers."""
    path = storage.path(run_dir) / FILE
    storage.check_conditions(path.parent)
    mine, ended, lost = _take(path), threading.Event(), threading.Event()

    def beat() -> None:
        nonlocal mine
        while not ended.wait(BEAT_S):
            try:
                new = replace(mine, beat_s=time.time())
                if not storage.swap(path, mine.to_bytes(), new.to_bytes()):
                    lost.set()
                    # Raises in the body, even while that waits for something.
                    signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL)
                    return
                mine = new
            except OSError as error:
                log.warning("the lease of %s was not renewed: %s", path.parent, error)

    before = signal.signal(_SIGNAL, _interrupt)
    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt:
        if not lost.is_set():
            raise
    finally:
        ended.set()
        thread.join()
        signal.signal(_SIGNAL, before)
        if not lost.is_set():
            _release(path, mine)
    if lost.is_set():
        raise Lost(f"run_dir {path.parent} was taken over by {_described(_read(path)[1])}; this driver stops")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # no `except Exception` on the way catches it


def _take(path: storage.Location) -> Lease:
    mine = Lease.own()
    while not storage.create(path, mine.to_bytes()):
        content, other = _read(path)
        if content is None:  # released just now
            continue
        if other is not None and other.id == mine.id:  # created, though the answer was lost
            break
        if other is not None and not other.is_dead():
            if not other.is_fresh():
                log.warning(
                    "run_dir %s: no sign of life from %s; waiting for %.0f s", path.parent, _described(other), WATCH_S
                )
                time.sleep(WATCH_S)
            if other.is_fresh() or _read(path)[0] not in (content, None):
                raise Held(
                    f"run_dir {path.parent} is in use by {_described(other)}. Wait for that job or end it; if there is no "
                    f"such process any more, start again in {STALE_S:.0f} s"
                )
        log.warning("run_dir %s is taken over from %s", path.parent, _described(other))
        mine = replace(mine, beat_s=time.time())
        if storage.swap(path, content, mine.to_bytes()):
            break
    return mine


def _read(path: storage.Location) -> tuple[bytes | None, Lease | None]:
    """The bytes of a file, None where there is none; and its lease, None where it holds none."""
    try:
        content = storage.read_bytes(path)
    except FileNotFoundError:
        return None, None
    try:
        return content, Lease(**json.loads(content))
    except (ValueError, TypeError):
        return content, None


def _release(path: storage.Location, mine: Lease) -> None:
    try:
        if _read(path)[0] == mine.to_bytes():
            storage.remove(path)
    except OSError as error:
        log.warning("the lease of %s was not released, and expires by itself: %s", path.parent, error)


def _described(lease: Lease | None) -> str:
    if lease is None:
        return "another driver"
    return f"process {lease.pid} on {lease.host}, at work since {lease.started}"
