"""Runs a command that shows facts about a folder, as text or as one JSON object."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.config.common import LogConfig
from routelmt_ray.runtime import logs

log = logging.getLogger(__name__)


class ShowConfig(Protocol):
    """The settings that such a command needs."""

    @property
    def format(self) -> str:
        """`table` or `json`."""
        ...

    @property
    def log(self) -> LogConfig:
        """Messages on stderr."""
        ...


ConfigT = TypeVar("ConfigT", bound=ShowConfig)


def show(
    config_class: type[ConfigT],
    doc: str | None,
    argv: list[str],
    find: Callable[[ConfigT], dict[str, Any]],
    print_text: Callable[[dict[str, Any]], None],
) -> int:
    """Collects facts and prints them.

    Args:
        argv: its words; `--json` is short for format=json.
        find: collects the facts. A ValueError or StorageError refuses the command.

    Returns:
        The exit status: 0, or 2 where the command is refused.
    """
    logs.set_up()
    try:
        words = ["format=json" if word == "--json" else word for word in argv]
        config = configlib.parse_args(config_class, doc or "", words)
        logs.set_up(config.log.format)
        found = find(config)
    except (ValueError, storage.StorageError) as error:
        log.error("refused: %s", error)
        return 2
    if config.format == "json":
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
    else:
        print_text(found)
    return 0
