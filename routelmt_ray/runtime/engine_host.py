"""Holds an engine in an actor: meters it, limits its time, and leaves a trace when it dies.

When an engine is dead or hangs, its process ends, and Ray starts a new one. If a row caused the death, that row is
found (:mod:`routelmt_ray.runtime.suspects`) and answered as failed.
"""

import faulthandler
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import psutil

from routelmt_ray.config.common import PoolConfig
from routelmt_ray.engines import EngineDead
from routelmt_ray.runtime.descendants import end_with_this_process
from routelmt_ray.runtime.metering import Meter, MeteredWork
from routelmt_ray.runtime.readings import MeterReading, failed_loads, readings
from routelmt_ray.runtime.suspects import Attempt
from routelmt_ray.storage.rundir import RunDir

log = logging.getLogger(__name__)

E = TypeVar("E")
T = TypeVar("T")
R = TypeVar("R")

CONVICTED = "the engine died over this row"
"""Reason of failure for a row to which :func:`EngineHost.answers` gives no answer."""
LAST_LOADS = "last_loads"
"""Key of a plan entry: kinds of engines that the start of the job that it names does not load any more."""
_MOST_FAILED_LOADS = 4
_BACK_OFF_S = 2.0
_GRACE_S = 30.0
"""Seconds after which a second watch, which needs no Python, acts if the first one is blocked."""


class NotLoaded(RuntimeError):
    """An engine did not load, but its process is alive."""


class EngineHost(Generic[E]):
    """Holds one engine in an actor."""

    def __init__(
        self, run: RunDir, kind: str, pool: PoolConfig, load: Callable[[], E], calls: int = 1, model: str = ""
    ) -> None:
        """Loads the engine and warms it up with `load`, so that the cost of a first call counts as loading.

        `kind` is the purpose of the actor (:class:`routelmt_ray.runtime.readings.MeterReading`), and `model` the model
        that it holds, where `kind` does not say so; `calls` threads may call :meth:`answers` at once. Raises
        RuntimeError if too many processes died while they loaded such an engine in this start of the job, and NotLoaded
        if `load` raised an exception, or this start has planned what it does with the engines that were loaded.
        """
        start, actor = str((run.manifest() or {}).get("started", "")), _actor_id()
        if any(entry.get(LAST_LOADS, {}).get(kind, "") == start != "" for entry in run.plans()):
            raise NotLoaded(
                f"an engine ({kind}) died over rows that have a translation; the budget does not pay for another load"
            )
        self.meter = Meter(
            run, kind, pool.gpus, actor, start, model
        )  # first of all, as the actor already holds its GPU
        """Meter of the device-seconds of this actor."""
        if actor:
            end_with_this_process()
        _back_off(failed_loads(readings(run), kind, socket.gethostname(), start))
        self._run, self._watch = run, _Watch(pool.timeout_s)
        self._calls, self._room, self._alone = calls, threading.Semaphore(calls), threading.Lock()
        with self._watch:
            self.engine = _loaded(kind, load)
        """The engine."""
        # Only engines that ask servers have it.
        usage: Callable[[], dict[str, float]] = getattr(self.engine, "usage", dict)
        self._watch.answered = lambda: usage().get("answers", 0.0)
        self.meter.loaded(usage)

    def answers(
        self, stage: str, shard: int, rows: Sequence[T], ask: Callable[[Sequence[T]], Sequence[R]]
    ) -> tuple[list[R | None], MeteredWork]:
        """Asks the engine for the answers to the rows of a shard.

        If the engine dies, the process ends and the call does not return.

        Args:
            stage: where the answers will be committed.
            ask: asks the engine; returns one answer for each row.

        Returns:
            One answer for each row, None for a row that kills the engine; and the time it took.

        Raises:
            ShardGivenUp: the engine keeps dying over this shard, and no row is the cause.
            Exception: any other exception of `ask`, such as :class:`EveryRowFailed`; the shard fails.
        """
        attempt = Attempt(self._run, stage, shard, len(rows))
        found: list[R | None] = [None] * len(rows)
        with self._turn(alone=attempt.mark.deaths_in_all > 0), self.meter.work() as took:
            for part in attempt.mark.parts() if rows else ():
                attempt.enter(part)
                with self._watch:
                    try:
                        found[part.start : part.stop] = ask(rows[part.start : part.stop])
                    except EngineDead as death:
                        log.error("%s, shard %d: %s", stage, shard, death)
                        _end_process()
                    except Exception:
                        attempt.close()  # no engine died: the next attempt must not search for a row that kills it
                        raise
        attempt.close()
        return found, took

    @contextmanager
    def _turn(self, alone: bool) -> Iterator[None]:
        """Waits for room for one more call. A shard over which an engine died runs without others, so that only its
        rows can be suspected."""
        taken = 0
        try:
            with self._alone:  # two calls that both need all of the room must not wait for each other
                for _ in range(self._calls if alone else 1):
                    self._room.acquire()
                    taken += 1
            yield
        finally:
            self._room.release(taken)


def _loaded(kind: str, load: Callable[[], E]) -> E:
    collects = gc.isenabled()
    gc.disable()  # nearly all that a load makes stays, and Python would look at it again and again, an eighth of the time
    try:
        return load()
    except Exception as error:
        log.exception("an engine (%s) did not load", kind)
        reason = " ".join(str(error).split())  # Ray passes on only the last line of a message
        raise NotLoaded(f"an engine ({kind}) did not load: {type(error).__name__}: {reason}"[:2000]) from None
    finally:
        if collects:
            gc.enable()


class _Watch:
    """Ends the process if work is inside, and for a time none enters or leaves and no server answers."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.answered: Callable[[], float] = float  # 0.0: without servers
        self._seen = 0.0
        self._inside, self._lock = 0, threading.Lock()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            self._arm()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            faulthandler.cancel_dump_traceback_later()
            self._timer = None
        if self._inside:
            self._seen = self.answered()
            self._timer = threading.Timer(self._timeout_s, self._expire)
            self._timer.daemon = True
            self._timer.start()
            faulthandler.dump_traceback_later(self._timeout_s + _GRACE_S, exit=True, file=sys.__stderr__ or sys.stderr)

    def _expire(self) -> None:
        with self._lock:
            if self.answered() > self._seen:  # a shard at a slow server may take longer, and its answers are paid
                self._arm()
                return
        log.error("the engine finished nothing in %.0f s, so it counts as hung (pool.timeout_s)", self._timeout_s)
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
        _end_process()


def _end_process() -> None:
    """Ends this process and those it started. None of their code runs, as the engine may be in any state."""
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    logging.shutdown()
    os._exit(1)


def _actor_id() -> str:
    """The id that Ray gives to the actor in this process; empty in a process without one."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return ""
    return str(ray.get_runtime_context().get_actor_id() or "")


def _back_off(failed: Sequence[MeterReading]) -> None:
    """Waits longer after each process that died on this machine while it loaded such an engine; gives up after some."""
    if len(failed) >= _MOST_FAILED_LOADS:
        raise RuntimeError(
            f"{len(failed)} processes died while they loaded an engine ({failed[-1].kind}); the messages of the last one, "
            f"process {failed[-1].pid} on {failed[-1].host}, say why; too little memory is the usual cause"
        )
    if failed:
        time.sleep(_BACK_OFF_S * 2 ** (len(failed) - 1))
