"""A budget in money with a small model that runs here and a large one at a server, whose tokens are counted on both sides."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import account as show
from jobs import threshold
from routelmt_ray.job import accounts
from routelmt_ray.job.account_run import spent_of
from routelmt_ray.job.status import status
from routelmt_ray.plan.tranches import BudgetTooSmall
from tests.conftest import Ended, Job
from tests.end_to_end.runs import output, run
from tests.end_to_end.test_endpoint import endpoint
from tests.engines.openai_server import Reply, Server, Trouble, served

pytestmark = pytest.mark.timeout(900)
ROWS, INPUT, OUTPUT = 300, 10.0, 20.0  # prices of a million tokens


def translate(fields: dict[str, Any]) -> Reply:
    """An answer of about as many tokens as its source has."""
    return Reply("", fields["prompt"][4:-4] or [9])


def paid(server: Server, first: int = 0) -> float:
    """Computes the charge of a server for the requests from a number on."""
    asked = [fields["prompt"] for fields in server.asked[first:]]
    tokens = [(len(prompt), len(prompt[4:-4]) or 1) for prompt in asked]
    return sum(INPUT * prompt + OUTPUT * answer for prompt, answer in tokens) / 1e6


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    texts = [f"Sentence {number}" + " and a dog" * (number % 7) + "." for number in range(ROWS)]
    pq.write_table(pa.table({"source": texts}), tmp_path / "in.parquet")
    return [
        "input.source_lang=en", "input.target_lang=es", "router.kind=length", "router.scale=0.001", "input.shard_rows=75",
        "models.small.engine=echo", "models.small.batch_rows=4", "models.large.batch_rows=4", "cost.rows=16",
        "price.small.gpu_hour=2", f"price.large.input_tokens={INPUT}", f"price.large.output_tokens={OUTPUT}",
    ]  # fmt: skip


def test_money_for_device_time_and_tokens_is_never_exceeded_and_is_used(
    words: list[str], tmp_path: Path, without_ray: None
) -> None:
    run_dir, path = tmp_path / "run", tmp_path / "in.parquet"
    with served(translate) as server:
        server.trouble = lambda fields, number: {60: Trouble(cut=True), 70: Trouble(500, {})}.get(number)
        words += endpoint("large", server, api="completions")
        dry = run(run_dir, path, *words, "budget.fraction=0.5", "budget.dry_run=true")
        forecast, profiled = dry["forecast"], paid(server)
        assert forecast["unit"] == "USD" and not (run_dir / "large").exists()
        assert forecast["asked"]["rows"] == ROWS // 2 and forecast["asked"]["wall_s"] is None
        budget = 0.5 * (forecast["all_small_s"] + forecast["all_large_s"])

        asked = run(run_dir, path, *words, f"budget.money={budget}", "budget.dry_run=true")["forecast"]["asked"]
        assert 0.75 * budget < asked["total_s"] <= budget and not (run_dir / "large").exists()
        report = run(run_dir, path, *words, f"budget.money={budget}")
        assert asked["rows"] == pytest.approx(report["budget"]["routed"], rel=0.25), (
            "what the money buys was said before"
        )
        spend, charged = report["spend"], paid(server)
        first = len(server.asked)
        large = {stage["name"]: stage for stage in spend["stages"]}["large"]
        money = spend["money"]
        assert 0.75 * budget < money["spent"] <= budget == money["budget"]
        assert large["usage"]["assumed_completion_tokens"] > 0, "the answer that was cut is counted"
        seconds = sum(stage["device_s"] for stage in spend["stages"])
        assert money["spent"] == pytest.approx(charged + 2 * seconds / 3600, rel=0.02)
        assert money["spent"] >= charged - paid_once(server, 70) + 2 * seconds / 3600 - 1e-9
        assert sum(stage["money"] for stage in spend["stages"]) == pytest.approx(money["spent"])
        used = large["usage"]
        prompts, answers = (
            used[f"{name}_tokens"] + used[f"assumed_{name}_tokens"] for name in ("prompt", "completion")
        )
        assert large["money"] == pytest.approx((INPUT * prompts + OUTPUT * answers) / 1e6) and large["device_s"] == 0
        small = {stage["name"]: stage for stage in spend["stages"]}["small"]
        assert small["money"] == pytest.approx(2 * small["device_s"] / 3600) and small["device_s"] > 0, "both add up"
        assert 0 < report["budget"]["routed"] < ROWS and all(output(run_dir)["translation"].to_pylist())
        assert forecast["all_small_s"] < profiled + 0.01, "echo costs next to nothing beside the profile"
        measured = sum(line["measured_s"] or 0.0 for line in report["plan"])
        assert 0.9 * large["money"] < measured <= large["money"], "the plan is in money, and nothing else was asked"
        page = (run_dir / "report.html").read_text()
        assert "Money and device time" in page and "of USD" in page and "Gain a USD" in page

        found = status(str(run_dir))["spend"]["money"]
        assert (found["currency"], found["budget"]) == ("USD", budget)
        assert found["spent"] == pytest.approx(money["spent"])

        more = run(run_dir, path, *words, f"budget.money={budget + 0.1}")
        assert money["spent"] + 0.04 < more["spend"]["money"]["spent"] <= budget + 0.1
        assert paid(server, first) < 0.1, "what is translated is not paid again"
        with pytest.raises(
            BudgetTooSmall, match=r"budget.money is 0.0001, but .* USD, .* set budget.money to at least 0\.\d+"
        ):
            run(tmp_path / "poor", path, *words, "budget.money=0.0001")


def paid_once(server: Server, number: int) -> float:
    prompt = server.asked[number]["prompt"]
    return (INPUT * len(prompt) + OUTPUT * len(prompt[4:-4])) / 1e6


def test_an_account_in_money_is_shared_by_jobs_and_never_overspent(
    words: list[str], tmp_path: Path, without_ray: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two nights of 120 rows share what half of their tokens cost; the small model is free."""
    first_day, folder = datetime.now(UTC).date(), tmp_path / "account"
    nights = [tmp_path / f"{number}.parquet" for number in range(2)]
    for number, path in enumerate(nights):
        texts = [f"Night {number}, sentence {row}" + " and a dog" * (row % 7) + "." for row in range(120)]
        pq.write_table(pa.table({"source": texts}), path)
    with served(translate) as server:
        words = [
            *words,
            *endpoint("large", server, api="completions"),
            "price.small.gpu_hour=0",
            f"account.path={folder}",
        ]

        def job(number: int, *more: str, check: int = 0) -> tuple[Job, Ended]:
            found = Job(tmp_path / f"run{number}")
            return found, found.run(*words, f"input.path={nights[number]}", *more, check=check)

        two_days, one_day = (f"account.period={first_day}/{first_day + timedelta(days)}" for days in (1, 0))
        allowance = 0.06
        _, dry = job(0, f"account.money={allowance}", two_days, "budget.dry_run=true")
        assert "USD 0.0" in dry.stdout and "granted" in dry.stdout and not list(folder.glob("*.json"))
        one, ended = job(0, f"account.money={allowance}", two_days)
        report, charged = one.report(), paid(server)
        money, account = report["spend"]["money"], report["account"]
        assert (
            account["unit"] == "USD"
            and account["used"] == pytest.approx(money["spent"])
            and 0 < report["budget"]["routed"] < 120
        )
        probes = (
            charged - money["spent"]
        )  # the one request with which each of two starts asks whether the server is there
        assert 0 <= probes < 0.0003 and money["budget"] == account["granted"] < 0.7 * allowance
        assert (
            money["spent"] <= account["granted"]
            and "a predicted gain of" in ended.stdout
            and "or more per USD" in ended.stdout
        )
        assert spent_of(str(one.run_dir), "USD") == pytest.approx(money["spent"]), "what returns if it had been killed"
        assert spent_of(str(tmp_path), "USD") is None
        assert status(str(one.run_dir))["account"] == account

        for more, message in (
            (["account.money=1", "price.currency=EUR"], "account.money in EUR is set, but account"),
            (["account.rows=9"], "has account.money in USD in the period"),
            ([f"account.money={money['spent'] + 1e-4}"], "by earlier jobs, this job needs USD 0.0"),
        ):
            assert message in job(1, *more, two_days, check=2)[1].stderr

        (book,) = folder.glob("*_*.json")
        book.rename(
            folder / f"{first_day}_{first_day}.json"
        )  # the period ends today: the last job may take what is left
        two, _ = job(1, f"account.money={allowance}", one_day)
        second = two.report()
        assert second["spend"]["money"]["spent"] <= second["account"]["granted"] <= allowance - money["spent"] + 1e-12
        assert 0.75 * allowance < paid(server) <= allowance, "by the server's own count"
    capsys.readouterr()
    assert show.main([f"path={folder}"]) == 0
    assert "allowance   USD 0.0600" in (shown := capsys.readouterr().out) and "settled" in shown


def test_jobs_at_once_on_an_account_in_money_never_get_more_than_there_is(
    words: list[str], tmp_path: Path, without_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job fails after its grant. A second one reads the account; before it draws, a third one does its work."""
    day, jobs = datetime.now(UTC).date(), [Job(tmp_path / f"run{number}") for number in range(3)]
    for number in range(3):
        texts = [f"Night {number}, sentence {row}" + " and a dog" * (row % 7) + "." for row in range(40)]
        pq.write_table(pa.table({"source": texts}), tmp_path / f"{number}.parquet")
    with served(translate) as server:
        words += [*endpoint("large", server, api="completions"), "price.small.gpu_hour=0"]
        words += [f"account.path={tmp_path / 'account'}", f"account.period={day}/{day}"]

        def start(number: int, money: float) -> None:
            jobs[number].run(*words, f"input.path={tmp_path / f'{number}.parquet'}", f"account.money={money}")

        with monkeypatch.context() as broken:
            broken.setattr("jobs.translate.ClosedLoop.run", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                start(0, 1.0)
        (book,) = (tmp_path / "account").glob("*_*.json")
        (first,) = json.loads(book.read_bytes())["draws"].values()
        allowance = 2.6 * first["granted"]  # a job alone would be granted all that it can use

        def third_works(*args: Any) -> Any:
            monkeypatch.setattr(accounts, "expect", expect)
            start(2, allowance)
            return expect(*args)

        expect = accounts.expect
        monkeypatch.setattr(accounts, "expect", third_works)
        start(1, allowance)
        granted = [job.report()["account"]["granted"] for job in jobs[1:]]
        assert 0 < granted[0] < 0.9 * granted[1] and sum(granted) < allowance - first["granted"] + 0.3 * granted[1]
        start(0, allowance)
        draws = json.loads(book.read_bytes())["draws"].values()
        assert {draw["state"] for draw in draws} == {"settled"} and all(d["spent"] <= d["granted"] for d in draws)
        assert first["granted"] == jobs[0].report()["account"]["granted"]
        assert 0.5 * allowance < paid(server) - 4 * 0.0003 < sum(draw["spent"] for draw in draws) <= allowance


@pytest.mark.parametrize("hours", [False, True])
def test_a_threshold_for_money_spends_it_as_the_forecast_says(
    words: list[str], tmp_path: Path, without_ray: None, hours: bool, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A dry run of a budget in rows with prices; where both models run here, hours can be asked of it as well."""
    with served(translate) as server:
        at = (
            ["models.large.engine=echo", "price.large.gpu_hour=4"]
            if hours
            else endpoint("large", server, api="completions")
        )
        words = [word for word in words if not (hours and "tokens" in word)]
        job = Job(tmp_path / "run")
        job.run(*words, *at, f"input.path={tmp_path / 'in.parquet'}", "budget.fraction=0.5", "budget.dry_run=true")
    forecast = job.report()["forecast"]
    middle, out = 0.5 * (forecast["all_small_s"] + forecast["all_large_s"]), tmp_path / "threshold.json"
    assert threshold.main([f"run_dir={job.run_dir}", f"money={middle}", f"out={out}"]) == 0
    found = json.loads(out.read_text())
    assert (found["money"], found["hours"], found["fraction"]) == (middle, None, None) and 0 < found["share"] < 1
    asked = [f"run_dir={job.run_dir}", "hours=1"]
    if hours:
        assert threshold.main(asked) == 0, "an hour is much more than echo needs"
        assert "it routes 100.00%" in capsys.readouterr().out
    else:
        assert threshold.main(asked) == 2 and "needs the device-seconds of both models" in caplog.text
        points = {point["total_s"]: point["share"] for point in forecast["frontier"]}
        assert found["share"] == pytest.approx(max(s for cost, s in points.items() if cost <= middle), abs=0.05)
    for more, message in ((["money=1e-6"], "ask for more"), (["money=1", "fraction=0.3"], "set one of them")):
        assert threshold.main([f"run_dir={job.run_dir}", *more]) == 2 and message in caplog.text
        caplog.clear()
