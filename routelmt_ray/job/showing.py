"""Runs a command that shows facts about a folder, as text or as one JSON object. It loads neither Ray nor a model."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from routelmt_ray import storage
from routelmt_ray.config import loader as configlib
from routelmt_ray.runtime import logs

log = logging.getLogger(__name__)


def show(
    schema: type,
    description: str | None,
    argv: list[str],
    find: Callable[[Any], dict[str, Any]],
    print_text: Callable[[dict[str, Any]], None],
) -> int:
    """Collects facts and prints them.

    Args:
        schema: a configuration with `format` and `log`; the word `--json` is short for format=json.
        find: collects the facts. A ValueError or StorageError refuses the command.

    Returns:
        The exit status: 0, or 2 where the command is refused.
    """
    logs.set_up()
    try:
        words = ["format=json" if word == "--json" else word for word in argv]
        config: Any = configlib.parse_args(schema, description or "", words)
        logs.set_up(config.log.format)
        found = find(config)
    except (ValueError, storage.StorageError) as error:
        log.error("refused: %s", error)
        return 2
    if config.format == "json":
        sys.stdout.write(json.dumps(found, ensure_ascii=not logs.shows_any_text()) + "\n")
    else:
        print_text(found)
    return 0
