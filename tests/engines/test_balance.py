"""Which server is asked next: the one with the fewest in flight, and not one that has just failed."""

import pytest

from routelmt_ray.engines.balance import Balance, Turn


def test_the_server_with_the_fewest_in_flight_is_asked() -> None:
    balance = Balance(["a", "b"])
    assert [balance.take(0.0) for _ in range(4)] == [Turn(url, False) for url in "abab"]
    balance.done(Turn("b", False))
    assert balance.take(0.0) == Turn("b", False)


def test_one_that_failed_is_left_out_then_asked_once_and_comes_back() -> None:
    balance = Balance(["a", "b"])
    assert [balance.take(1.0), balance.take(1.0)] == [("a", False), ("b", False)]
    balance.failed("a", sent=1.0, now=2.0)
    balance.done(Turn("a", False))
    assert {balance.take(2.1) for _ in range(3)} == {("b", False)}
    assert balance.down_s(2.4) == 0.0, "b works"
    assert balance.take(2.6) == ("a", True), "it is due, and goes before the one that works"
    assert balance.take(2.7) == ("b", False), "a is being tried already"
    balance.answered("a", 2.8)
    balance.done(Turn("a", True))
    assert balance.take(2.9) == ("a", False)
    assert balance.take(2.9, rather_not="a") == ("b", False)


def test_faults_of_requests_that_were_in_flight_together_count_once() -> None:
    balance = Balance(["a"])
    for _ in range(64):
        balance.take(0.0)
    for number in range(64):
        balance.failed("a", sent=0.0, now=1.0 + number / 1000)
    assert balance.wait_s(1.0) == 0.5
    assert balance.take(1.6) == ("a", True)
    balance.failed("a", sent=1.6, now=1.7)
    balance.done(Turn("a", True))
    assert balance.wait_s(1.75) == pytest.approx(0.95), "the second pause is twice as long"


def test_a_server_that_answers_others_is_not_suspected() -> None:
    balance = Balance(["a"])
    balance.take(0.0)
    balance.take(0.0)
    balance.answered("a", 1.0)
    balance.failed("a", sent=0.0, now=2.0)
    assert balance.take(2.0) == ("a", False)


def test_a_busy_server_pauses_and_is_not_suspected() -> None:
    balance = Balance(["a"])
    balance.take(0.0)
    balance.is_busy("a", 1.0, after_s=3.0)
    assert balance.take(3.9) is None
    assert balance.wait_s(3.0) == 1.0
    assert balance.take(4.0) == ("a", False)
    balance.is_busy("a", 5.0)
    assert balance.wait_s(5.0) == 1.0, "busy for the second time"
    balance.answered("a", 5.1)
    assert balance.take(5.2) is None, "an answer to an earlier request does not end the pause"


def test_pauses_grow_up_to_the_longest_pause() -> None:
    balance = Balance(["a"], longest_pause_s=4.0)
    now = 0.0
    for _ in range(40):
        turn = balance.take(now)
        assert turn is not None
        balance.failed("a", sent=now, now=now + 1)
        balance.done(turn)
        now += 1 + balance.wait_s(now + 1)
    assert balance.wait_s(now - 4.0) == 4.0


def test_how_long_no_server_works() -> None:
    balance = Balance(["a", "b"])
    balance.failed("a", sent=0.0, now=1.0)
    assert balance.down_s(1.0) == 0.0
    balance.is_busy("b", 2.0, after_s=10.0)
    assert balance.down_s(2.0) == 0.0, "a may be tried again"
    balance.take(2.0)
    balance.failed("a", sent=2.0, now=3.0)
    assert balance.down_s(3.0) == 1.0, "until the next try of a, one second later"
    assert balance.down_s(8.0) == 5.0
    balance.answered("b", 9.0)
    assert balance.down_s(20.0) == 0.0
