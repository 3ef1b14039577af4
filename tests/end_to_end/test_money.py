"""A budget in money with a small model that runs here and a large one at a server, whose tokens are counted on both sides."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.job.status import status
from routelmt_ray.plan.tranches import BudgetTooSmall
from tests.end_to_end.runs import output, run
from tests.end_to_end.test_endpoint import endpoint
from tests.engines.openai_server import Reply, Server, Trouble, served

pytestmark = pytest.mark.timeout(900)
ROWS, INPUT, OUTPUT = 600, 10.0, 20.0  # prices of a million tokens


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
        "input.source_lang=en", "input.target_lang=es", "router.kind=length", "router.scale=0.001", "input.shard_rows=40",
        "models.small.engine=echo", "models.small.batch_rows=4", "models.large.batch_rows=4", "cost.rows=16",
        "price.small.gpu_hour=2", f"price.large.input_tokens={INPUT}", f"price.large.output_tokens={OUTPUT}",
    ]  # fmt: skip


def test_money_for_device_time_and_tokens_is_never_exceeded_and_is_used(
    words: list[str], tmp_path: Path, local_ray: None
) -> None:
    run_dir, path = tmp_path / "run", tmp_path / "in.parquet"
    with served(translate) as server:
        server.trouble = lambda fields, number: {100: Trouble(cut=True), 120: Trouble(500, {})}.get(number)
        words += endpoint("large", server, api="completions")
        dry = run(run_dir, path, *words, "budget.fraction=0.5", "budget.dry_run=true")
        forecast, profiled = dry["forecast"], paid(server)
        assert forecast["unit"] == "USD" and not (run_dir / "large").exists()
        assert forecast["asked"]["rows"] == ROWS // 2 and forecast["asked"]["wall_s"] is None
        budget = 0.5 * (forecast["all_small_s"] + forecast["all_large_s"])

        report = run(run_dir, path, *words, f"budget.money={budget}")
        spend, charged = report["spend"], paid(server)
        first = len(server.asked)
        large = {stage["name"]: stage for stage in spend["stages"]}["large"]
        money = spend["money"]
        assert 0.75 * budget < money["spent"] <= budget == money["budget"]
        assert large["usage"]["assumed_completion_tokens"] > 0, "the answer that was cut is counted"
        seconds = sum(stage["device_s"] for stage in spend["stages"])
        assert money["spent"] == pytest.approx(charged + 2 * seconds / 3600, rel=0.02)
        assert money["spent"] >= charged - paid_once(server, 120) + 2 * seconds / 3600 - 1e-9
        assert sum(stage["money"] for stage in spend["stages"]) == pytest.approx(money["spent"])
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
            BudgetTooSmall, match=r"budget.money is 0.0001, but .* USD .* set budget.money to at least 0\.\d+"
        ):
            run(tmp_path / "poor", path, *words, "budget.money=0.0001")


def paid_once(server: Server, number: int) -> float:
    prompt = server.asked[number]["prompt"]
    return (INPUT * len(prompt) + OUTPUT * len(prompt[4:-4])) / 1e6
