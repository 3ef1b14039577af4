"""Messages are lines for people or JSON objects for machines, as asked."""

import json
import logging
import subprocess
import sys

import pytest

from routelmt_ray.runtime.logs import JsonLines
from tests.conftest import ROOT


def test_a_record_is_one_line_of_json_with_its_traceback() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.getLogger("a.b").makeRecord("a.b", 30, "f", 1, "%d rows, “%s”", (3, "é"), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert (found["level"], found["logger"], found["message"]) == ("WARNING", "a.b", "3 rows, “é”")
    assert found["time"].endswith("+00:00")
    assert "ValueError: two" in found["exception"]


@pytest.mark.parametrize(("words", "environment"), [(["log.format=json"], {}), ([], {"ROUTELMT_LOG_FORMAT": "json"})])
def test_a_refusal_is_json_where_that_is_asked_for(words: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "jobs/status.py", "run_dir=/no/where", *words]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)} | environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    found = json.loads(line)
    assert found["level"] == "ERROR"
    assert "/no/where has no manifest.json" in found["message"]
