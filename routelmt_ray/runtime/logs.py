"""Messages of the jobs on stderr: lines for people, or JSON lines for a collector."""

import json
import logging
import os
from datetime import UTC, datetime

ENVIRONMENT = "ROUTELMT_LOG_FORMAT"
"""Environment variable that asks for a format before any configuration is read."""


class JsonLines(logging.Formatter):
    """One JSON object a message: time (UTC, ISO 8601), level, logger, message and, where there is one, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
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

    A job calls it first of all, and again once it knows its configuration.

    Args:
        form: ``text`` or ``json``; :data:`ENVIRONMENT` can ask for ``json`` too.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    if "json" in (form, os.environ.get(ENVIRONMENT)):
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
