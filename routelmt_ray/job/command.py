"""Starts and ends the jobs as commands: refusals, failures that can be resumed, and exit statuses.

0: all is committed, or there is nothing to do. 1: failed, and can be resumed. 2: refused. 3: more rows are in
    quarantine
than allowed. 128 + n: stopped by signal n.
"""

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.common import PoolConfig
from routelmt_ray.config.errors import Refused, message_of
from routelmt_ray.corpus.file_list import NothingNew
from routelmt_ray.corpus.shard_reader import InputChanged
from routelmt_ray.engines.translators import check_services
from routelmt_ray.job import job
from routelmt_ray.runtime import cluster, logs, pipelines, stopping
from routelmt_ray.runtime.progress import Progress
from routelmt_ray.storage import lease

log = logging.getLogger(__name__)

FAILED, REFUSED = 1, 2
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


C = TypeVar("C")
"""A configuration, with the section `log`."""


def hold_no_model() -> None:
    """Sets the environment of a process that loads no model and at most tokenises, before other imports:
    :data:`cluster.WITHOUT_TORCH`."""
    for name, value in cluster.WITHOUT_TORCH.items():
        os.environ.setdefault(name, value)


def exit_with(main: Callable[[list[str]], int]) -> NoReturn:
    """Ends this process with the status of a command, and stops Ray, where it runs, without delay.

    At the end of the interpreter Ray would first wait half a second for messages of workers, which no job needs.
    """
    status = main(sys.argv[1:])
    cluster.stop()
    sys.exit(status)


class Ending:
    """The end of a command."""

    status = 0
    """Exit status."""


@contextmanager
def ending(kept: str = "Committed work is kept", failures: tuple[type[Exception], ...] = ()) -> Iterator[Ending]:
    """Turns an expected error that ends a job early into a message and an exit status; any other error is raised.

    `kept` says what a later start can use, and `failures` are further exceptions of the job that are failures.
    """
    end = Ending()
    resumable: tuple[type[Exception], ...] = (
        pipelines.StageFailed, lease.Lost, storage.Damaged, storage.StorageError, InputChanged
    )  # fmt: skip
    try:
        yield end
    except NothingNew as news:
        log.info("%s", news)
    except (Refused, lease.Held, storage.AddressRefused) as error:
        log.error("refused: %s", message_of(error))
        end.status = REFUSED
    except resumable + failures as error:
        log.error("%s. %s; the same command resumes.", message_of(error), kept)
        end.status = FAILED
    except OSError as error:
        if error.errno in _FORBIDDEN:
            log.error("refused: %s: %s; choose a folder that can be written", error.filename, error.strerror)
            end.status = REFUSED
        elif error.errno in _DISK:
            log.error("%s: %s. %s; the same command resumes.", error.filename or "disk", error.strerror, kept)
            end.status = FAILED
        else:
            raise
    except stopping.Stopped as stop:
        log.error("%s. %s; the same command resumes.", stop, kept)
        end.status = stop.status


@contextmanager
def checking() -> Iterator[None]:
    """Turns a ValueError inside the ``with`` block into a refusal, for checks before any work."""
    try:
        yield
    except ValueError as error:
        raise Refused(str(error)) from None


def configure(schema: type[C], description: str | None, argv: Sequence[str]) -> C:
    """Reads the configuration of a command line, and formats messages as it says; raises ValueError for a wrong value."""
    logs.set_up()
    config: Any = configlib.parse_args(schema, description or "", list(argv))
    logs.set_up(config.log.format)
    found: C = config
    return found


@contextmanager
def working(config: Any, more_pools: Mapping[str, PoolConfig] | None = None) -> Iterator[Progress]:
    """Holds the run directory, starts Ray and shows progress during the ``with`` block.

    Signals end the block. If it does not end well, the manifest records how it ended. `more_pools` are those that the job needs
    beside its models, by the key that sets each.
    """
    models = getattr(config, "models", None)
    with checking():
        cluster.check(config.ray)
        if models:
            check_services({"models.small": models.small, "models.large": models.large})
    with stopping.on_signals(), lease.hold(config.run_dir), job.recorded_end(config.run_dir):
        cluster.start(config.ray)
        if models:
            pools = {"models.small.pool": models.small.pool, "models.large.pool": models.large.pool}
            cluster.check_pools(pools | dict(more_pools or {}), config.ray.address)
        with Progress() as progress:
            yield progress
