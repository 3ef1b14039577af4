"""The command that shows an account: what it says of a period, and what it refuses."""

import json
from datetime import date
from pathlib import Path

import pytest

from jobs import account as show
from routelmt_ray.account.account import Account
from routelmt_ray.account.book import RESERVED, RETURNED, SETTLED, Book, Draw
from routelmt_ray.config.account import Period

OCTOBER, NOVEMBER = (Period(date(2026, month, 1), date(2026, month, 30)) for month in (10, 11))


def drawn(root: Path, period: Period) -> Account:
    account = Account(root, period)
    for i, (state, spent) in enumerate(((SETTLED, 3600.0), (RETURNED, 60.0), (RESERVED, 0.0))):
        draw = Draw(
            f"runs/{i}", f"2026-11-{20 + i // 2}", 1000, 7200.0, state, spent, 0.0, 0.01 * i, 100.0 * i, 90.0 * i
        )
        account.change(Book("device_s", 36_000.0), lambda book, i=i, draw=draw: book.with_draw(str(i), draw))  # type: ignore[misc]
    return account


def test_a_period_as_a_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn(tmp_path, OCTOBER)
    account = drawn(tmp_path, NOVEMBER)
    with account.at_work("2"):
        assert show.main([f"path={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "2026-11-01 to 2026-11-30", "allowance   10 h 00 min", "spent       1 h 01 min (10.2 %)", "reserved    2 h 00 min (20.0 %)",
        "left        6 h 59 min (69.8 %)", "on 2026-11-21, 3 min 20 s were left", "take 3 min 00 s at a price of 0.02", "at work",
    ):  # fmt: skip
        assert words in shown, shown
    assert show.main([f"path={tmp_path}", "--json", "day=2026-10-05"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["unit"], found["left"], found["rows"]) == ("2026-10-01", "device_s", 25_140.0, 3000)
    assert [run["state"] for run in found["runs"]] == [SETTLED, RETURNED, RESERVED]
    assert not any(run["at_work"] for run in found["runs"])


def test_what_is_no_account_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drawn(tmp_path / "here", NOVEMBER)
    for words, message in (
        ([f"path={tmp_path}"], "where no job has drawn; name the folder that account.path names"),
        ([f"path={tmp_path / 'here'}", "day=2026-01-01"], "where no job has drawn in a period with day=2026-01-01"),
        ([f"path={tmp_path / 'here'}", "day=soon"], "day is 'soon'; it must be a date such as 2026-11-27"),
    ):
        assert show.main(words) == 2
        assert message in caplog.text
        caplog.clear()
