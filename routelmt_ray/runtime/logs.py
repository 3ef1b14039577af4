"""Writes the messages of the jobs to stderr, as text for people or as JSON lines for a collector."""

import json
import logging
import os
from datetime import UTC, datetime

ENVIRONMENT = "ROUTELMT_LOG_FORMAT"
"""Environment variable that selects a format before any configuration is read."""


class JsonLines(logging.Formatter):
    """Formats a message as one JSON object: time (UTC, ISO 8601), level, logger, message, and the exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(form: str = "text") -> None:
    """Sends messages of level INFO and above to stderr.

    A job calls it at its start, and again once its configuration is read. `form` is ``text`` or ``json``.
    :data:`ENVIRONMENT` can select ``json`` too.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    if "json" in (form, os.environ.get(ENVIRONMENT)):
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
