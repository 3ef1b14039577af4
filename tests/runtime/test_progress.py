"""Progress says what is known."""

import logging

import pytest

from routelmt_ray.runtime import progress


def test_a_total_that_is_not_known_is_not_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LOG_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO), progress.Progress() as shown:
        with shown.stage("translate, fallback", 0) as bar:
            bar.advance(18)
        with shown.stage("score", 40, done=10) as bar:
            bar.advance(20)
    fallback, score = (record.message for record in caplog.records if "/s" in record.message)
    assert fallback.startswith("translate, fallback: 18 rows, ")
    assert "left" not in fallback
    assert score.startswith("score: 30 of 40 rows, ")
    assert score.endswith(" s left")


def test_a_stage_without_rows_has_no_rate(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LOG_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO), progress.Progress() as shown, shown.stage("translate, large", 0) as bar:
        bar.advance(0)
    assert not [record.message for record in caplog.records if "/s" in record.message]
