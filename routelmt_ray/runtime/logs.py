"""Writes the messages of the jobs to stderr, as text for people or as JSON lines for a collector."""

import io
import json
import logging
import os
import sys
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


def shows_any_text() -> bool:
    """Tells whether stdout can show every character."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def set_up(form: str = "text") -> None:
    """Sends messages of level INFO and above to stderr. Has stdout show a question mark for a character that it cannot show.

    A job calls it at its start, and again once its configuration is read. `form` is ``text`` or ``json``.
    :data:`ENVIRONMENT` can select ``json`` too.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    if isinstance(sys.stdout, io.TextIOWrapper) and not shows_any_text():
        sys.stdout.reconfigure(errors="replace")
    if "json" in (form, os.environ.get(ENVIRONMENT)):
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonLines())
