"""`bench_gpu.py`: all parts on toy models, in an environment like that of a GPU machine; its limits; its arithmetic."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from routelmt_ray.budget.cost import CostModel, ProbeCost, TranslatorCost
from routelmt_ray.engines import EngineDead
from tests.benchmarks import bench_gpu
from tests.benchmarks.gpu import shapes
from tests.benchmarks.gpu.decoding import batch_lengths
from tests.benchmarks.gpu.ranking import changed_share
from tests.benchmarks.gpu.runner import Figures, Part, run_parts
from tests.benchmarks.gpu.setting import REAL, TOY, Bench, draw_lengths, draw_prompts
from tests.benchmarks.gpu.shapes import Shape
from tests.benchmarks.gpu.summary import CORPUS_ROWS, corpus_tokens, hours_table, summarise
from tests.benchmarks.gpu.tables import markdown
from tests.benchmarks.gpu.training import StepClock
from tests.conftest import ROOT

AS_ON_A_GPU_MACHINE = """
import gc, runpy, sys
gc.disable()
MISSING = {"ray", "vllm", "comet", "langcodes", "language_data", "s3fs", "boto3", "botocore", "zstandard", "moto", "duckdb"}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
sys.argv = ["bench_gpu.py", "--toy", "--device", "cpu", "--out", sys.argv[1]]
runpy.run_path("tests/benchmarks/bench_gpu.py", run_name="__main__")
"""
"""Runs the benchmark without the packages that it must not need."""


@dataclasses.dataclass(frozen=True)
class Toy:
    """A finished run on toy models."""

    out: Path
    printed: str
    summary: dict[str, Any]
    parts: dict[str, Any]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    out = tmp_path_factory.mktemp("gpu")
    words = [sys.executable, "-c", AS_ON_A_GPU_MACHINE, str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return Toy(out, done.stdout, **json.loads((out / "results.json").read_text()))


def test_every_part_is_complete_and_printed(toy: Toy) -> None:
    assert [part.name for part in bench_gpu.parts_of(TOY)] == list(toy.parts)
    assert toy.summary["not_complete"] == {}
    first, _, rest = toy.printed.partition("\n")
    assert json.loads(first) == toy.summary
    assert rest.strip() == (toy.out / "table.md").read_text().strip()
    for title in ("ceiling", "probe", "decoding", "toy-small and toy-large", "100 hours (cpu_s)", "bfloat16 against float32", "training, batch × accumulated", "judge's encoder"):  # fmt: skip
        assert f"| {title} |" in rest
    assert "4 answers, 0 errors, 3 batches halved" in rest


def test_work_is_counted_and_divided_by_the_ceilings(toy: Toy) -> None:
    """How large a share is depends on the machine; its work is held against PyTorch's own count below."""
    summary = toy.summary
    assert len(summary["probe"]) == 4 and len(summary["decode"]) == 3
    assert len(summary["training"]) == 2 and len(summary["encoder"]) == 2
    matmul, copy = summary["ceilings"]["float32"], summary["ceilings"]["copy"]
    for row in [*summary["probe"], *summary["training"], *summary["decode"]]:
        share = row.get("flop_share", row.get("byte_share"))
        assert 0 < share < np.inf, row
    probes = [figure for figure in toy.parts["probing-toy-small"]["figures"] if figure["what"] == "probe"]
    for row, figure in zip(summary["probe"], probes, strict=True):
        assert row["flop_share"] * figure["seconds"] * matmul == pytest.approx(figure["flops"])
    for row in summary["encoder"]:
        ceiling = summary["ceilings"][row["dtype"]]
        assert row["flop_share"] * row["seconds"] * ceiling == pytest.approx(row["flops"])
    batches = [f for model in ("toy-small", "toy-large") for f in toy.parts[f"decoding-{model}"]["figures"] if f["what"] == "batch"]  # fmt: skip
    for row, figure in zip(summary["decode"], batches, strict=True):
        assert row["byte_share"] * row["step_ms"] / 1000 * figure["steps"] * copy == pytest.approx(figure["bytes"])
    for figure in toy.parts["probing-toy-small"]["figures"]:
        if figure["what"] == "probe":
            assert (figure["rows"], figure["finite"], figure["halved"]) == (32, 32, 0)
            assert figure["tokens"] == draw_lengths(32).sum()
    for model in ("toy-small", "toy-large"):
        for figure in toy.parts[f"decoding-{model}"]["figures"]:
            if figure["what"] == "batch":
                assert figure["new_tokens"] + figure["ended_early"] == figure["batch"] * TOY.new_tokens
                assert figure["errors"] == figure["halved"] == 0
    for row in summary["training"]:
        assert row["rows_per_s"] > 0 and np.isfinite(row["loss"])
    for row in summary["ranking"]:
        assert row["spearman"] > 0.9 and 0 <= row["changed"] < 0.5 and row["rms_difference"] > 0


def test_a_batch_without_memory_is_halved_and_no_row_is_lost(toy: Toy) -> None:
    scarce, afterwards = toy.parts["memory"]["figures"]
    assert (scarce["rows"], scarce["answers"], scarce["errors"], scarce["halved"]) == (4, 4, 0, 3)
    assert (afterwards["errors"], afterwards["equal"]) == (0, 1.0)


def test_the_ratios_are_those_of_the_mean_rows(toy: Toy) -> None:
    (pair,) = toy.summary["pairs"]
    probe, small, large = (pair["mean_row_s"][name] for name in ("probe", "small", "large"))
    assert min(probe, small, large) > 0
    assert pair["probe_share"] == pytest.approx(probe / small)
    assert pair["cost_ratio"] == pytest.approx(large / small)
    judge = toy.parts["encoder"]["figures"][0]
    assert judge["dtype"] == "float32"
    assert pair["cascade_factor"] == pytest.approx((small + judge["seconds"] / judge["rows"]) / probe)


def test_a_finished_run_is_not_measured_again(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in toy.out.glob("*-*.json")}
    assert bench_gpu.main(["--toy", "--device", "cpu", "--out", str(toy.out)]) == 0
    said = capsys.readouterr()
    assert said.err.count(": kept, measured in") == len(toy.parts)
    assert json.loads(said.out.partition("\n")[0]) == toy.summary
    assert {path.name: path.stat().st_mtime_ns for path in toy.out.glob("*-*.json")} == before


MADE = {"device": "this one"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(TOY, torch.device("cpu"), tmp_path / "scratch")


def counted(calls: list[str], name: str, then: Callable[[], None] = lambda: None) -> Part:
    """A part with two figures, between which something happens."""

    def measure(bench: Bench) -> Figures:
        calls.append(name)
        yield {"n": 1}
        then()
        yield {"n": 2}

    return Part(name, 0.3, measure)


def sleep_through_exceptions() -> None:
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        with contextlib.suppress(Exception):  # as an engine does that looks for the row to blame
            time.sleep(20)


def test_a_part_that_is_too_long_is_cut_and_only_it_is_measured_again(bench: Bench, tmp_path: Path) -> None:
    calls: list[str] = []
    parts = [counted(calls, "a"), counted(calls, "slow", sleep_through_exceptions), counted(calls, "b")]
    started = time.monotonic()
    found = run_parts(parts, bench, tmp_path, MADE, 60)
    assert time.monotonic() - started < 10
    assert {name: part["complete"] for name, part in found.items()} == {"a": True, "slow": False, "b": True}
    assert found["slow"]["why"] == "cut after 0 s" and found["slow"]["figures"] == [{"n": 1}]
    assert found["a"]["figures"] == [{"n": 1}, {"n": 2}]
    assert summarise(found, TOY, {"device": "", "dtype": "float32"}, "cpu_s")["not_complete"] == {
        "slow": "cut after 0 s"
    }
    parts[1] = counted(calls, "slow")
    again = run_parts(parts, bench, tmp_path, MADE, 60)
    assert calls == ["a", "slow", "b", "slow"]
    assert again["slow"]["complete"] and again["slow"]["figures"] == [{"n": 1}, {"n": 2}]
    run_parts(parts[:1], bench, tmp_path, {"device": "another one"}, 60)
    assert calls[4:] == ["a"], "figures of another device are not used"


def test_a_part_that_fails_does_not_stop_the_others(bench: Bench, tmp_path: Path) -> None:
    alive: list[bool] = []
    held: list[weakref.ref[torch.Tensor]] = []

    def fail() -> None:
        weights = torch.ones(3)
        held.append(weakref.ref(weights))
        raise torch.OutOfMemoryError("no memory for the weights")

    parts = [counted([], "large", fail), counted([], "a", lambda: alive.append(held[0]() is not None))]
    found = run_parts(parts, bench, tmp_path, MADE, 60)
    assert found["large"]["why"] == "failed: OutOfMemoryError: no memory for the weights"
    assert found["large"]["figures"] == [{"n": 1}] and found["a"]["complete"]
    assert alive == [False], "the next part has the memory of the one that failed"


def test_a_dead_device_ends_the_run_and_keeps_what_is_done(bench: Bench, tmp_path: Path) -> None:
    calls: list[str] = []

    def die() -> None:
        raise EngineDead("the device is gone")

    parts = [counted(calls, "a"), counted(calls, "dead", die), counted(calls, "b")]
    with pytest.raises(EngineDead, match="dead: failed: EngineDead: the device is gone; run the same"):
        run_parts(parts, bench, tmp_path, MADE, 60)
    parts[1] = counted(calls, "dead")
    run_parts(parts, bench, tmp_path, MADE, 60)
    assert calls == ["a", "dead", "dead", "b"]


def test_a_timer_that_ran_before_goes_on(bench: Bench, tmp_path: Path) -> None:
    before = signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        run_parts([counted([], "a")], bench, tmp_path, MADE, 60)
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_no_part_begins_without_time_left(bench: Bench, tmp_path: Path) -> None:
    calls: list[str] = []
    said: list[str] = []
    found = run_parts([counted(calls, "a")], bench, tmp_path, MADE, 2.0, said.append)
    assert not calls and not found
    assert said == ["a: not started, 2 s are left of 2; the same command goes on"]


def test_the_limits_of_both_pairs_fit_in_eight_minutes() -> None:
    parts = bench_gpu.parts_of(REAL)
    assert len({part.name for part in parts}) == len(parts) == 8 + 3 + 2
    assert sum(part.limit_s for part in parts[:-2]) <= 60 * bench_gpu.MINUTES + 5 < 480


def test_wrong_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--device", "cpu"], "--toy tries this script"),
        (["--toy", "--parts", "probe"], "no part 'probe'; the parts are ceilings, probing-toy-small,"),
    ):
        with pytest.raises(SystemExit) as ended:
            bench_gpu.main(words)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "billions"),
    [(shapes.QWEN_06, 0.596), (shapes.QWEN_17, 1.72), (shapes.QWEN_8, 8.19), (shapes.GEMMA_1, 1.00), (shapes.GEMMA_27, 27.0)],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_the_shapes_are_those_of_the_published_models(shape: Shape, billions: float) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape.config(), dtype=torch.bfloat16)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total / 1e9 == pytest.approx(billions, rel=0.01)
    multiplied = shape.layer_weights + shape.head_weights * (1 if shape.tied else 2)
    assert multiplied == pytest.approx(total, rel=1e-3)  # the rest are norms
    windows = [kind == "sliding_attention" for kind in model.config.layer_types]
    assert sum(windows) == (shape.layers - shape.layers // 6 if shape.window else 0)


def test_bytes_and_operations_are_those_of_a_count_by_hand() -> None:
    shape, lengths, new = dataclasses.replace(shapes.TOY_SMALL, layers=6, heads=4, kv_heads=2), [5, 30], 4
    read = 0
    for step in range(1, new):
        read += shape.layer_weights + shape.head_weights
        for length in lengths:
            for layer in range(shape.layers):
                context = length + step if (layer + 1) % 6 == 0 else min(length + step, 24)
                read += 2 * shape.kv_heads * shape.head_dim * context
    assert shape.decode_bytes(lengths, new, 2) == 2 * read
    pairs = 5 * 6 / 2 + 30 * 31 / 2
    assert shape.prefill_flops(lengths) == 2 * 35 * shape.layer_weights + 4 * 6 * 4 * 16 * pairs


@pytest.mark.parametrize("shape", [shapes.TOY_SMALL, shapes.TOY_LARGE], ids=lambda shape: shape.name)
def test_operations_are_those_that_pytorch_counts(shape: Shape) -> None:
    model, rows, length = shapes.random_model(shape, torch.device("cpu"), torch.float32).model, 3, 40
    model.set_attn_implementation("eager")  # PyTorch counts no fused attention on a CPU
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.full((rows, length), shapes.FIRST_WORD), use_cache=False)
    unmasked = 4 * shape.layers * shape.heads * shape.head_dim * rows * length * (length - 1) / 2
    counted = counter.get_total_flops() - unmasked  # PyTorch also counts the later tokens, which a mask hides
    assert shape.prefill_flops([length] * rows) == pytest.approx(counted, rel=1e-3)  # the rest are positions


def test_random_weights_are_usable_and_the_same_each_time() -> None:
    for shape in (shapes.TOY_SMALL, shapes.TOY_LARGE):
        first, second = (shapes.random_model(shape, torch.device("cpu"), torch.float32) for _ in range(2))
        inputs = torch.tensor([draw_prompts(shape, np.array([40]), 0)[0].ids])
        with torch.inference_mode():
            logits = first(inputs).logits
            assert torch.equal(logits, second(inputs).logits)
        assert torch.isfinite(logits).all() and logits.std() > 1e-3


def test_lengths_of_rows_and_batches() -> None:
    lengths = draw_lengths(2000)
    assert lengths.min() >= 30 and lengths.max() <= 300 and 70 < np.median(lengths) < 80
    groups = batch_lengths(64, 4)
    assert [len(group) for group in groups] == [64] * 4
    assert all(a.max() <= b.min() for a, b in itertools.pairwise(groups))
    prompts = draw_prompts(shapes.TOY_SMALL, lengths[:9], 7)
    assert [len(prompt.ids) for prompt in prompts] == lengths[:9].tolist()
    assert {tuple(prompt.ids[-10:]) for prompt in prompts} == {tuple(prompts[0].ids[-10:])}
    assert all(min(prompt.ids) >= 2 and max(prompt.ids) < 300 and prompt.max_new_tokens == 7 for prompt in prompts)


def test_the_share_of_a_selection_that_changes() -> None:
    scores = np.arange(10, dtype=np.float32)
    other = scores.copy()
    other[[7, 0]] = other[[0, 7]]
    assert changed_share(scores, scores) == 0
    assert changed_share(scores, other) == pytest.approx(1 / 3)


def test_the_first_and_the_last_step_of_a_training_do_not_count() -> None:
    clock = StepClock()
    clock.steps = [(5.0, 64), (6.0, 64), (8.0, 32), (20.0, 64)]
    assert clock.rows_per_s() == pytest.approx(96 / 3)
    clock.steps = clock.steps[:2]
    with pytest.raises(ValueError, match="train_steps is 2; it must be at least 3"):
        clock.rows_per_s()


def test_what_hundred_hours_buy() -> None:
    rates = TranslatorCost("gpu_s", 0.0, 1e-3, 0.0, 0.0, 1.0, 1.0, {"*": 1.0}, None)
    costs = CostModel(
        "a GPU", 1, ProbeCost("gpu_s"), rates, rates, {"probe": 0.001, "small": 0.01, "large": 0.1}, {}, {}
    )
    rows = {row["strategy"]: row for row in hours_table(costs)}
    assert rows["all small"]["rows"] == 36_000_000 and rows["all large"]["rows"] == 3_600_000
    assert rows["router, 30% large"]["row_s"] == pytest.approx(0.001 + 0.7 * 0.01 + 0.3 * 0.1)
    assert rows["router, 30% large"]["rows"] == int(360_000 / 0.038)
    assert rows["router, 30% large"]["of_all_large"] == pytest.approx(0.1 / 0.038)
    assert list(rows) == ["all small", "router, 10% large", "router, 30% large", "router, 50% large", "all large"]
    assert [row["rows"] for row in hours_table(costs, 1.0, (0.2,))] == [360_000, int(3600 / 0.029), 36_000]


PROBE_ROW_S, PROBE_TOKEN_S = 1e-5, 2e-6
RATES = {"toy-small": (1e-4, 1e-5, 1e-4), "toy-large": (2e-4, 1e-4, 1e-3)}
"""Invented: device-seconds per row, prompt token and output token."""


def invented(judge_s: float) -> dict[str, Any]:
    """Results of parts as exact rates would give them."""
    lengths = [group.tolist() for group in batch_lengths(16, 4)]
    parts: dict[str, Any] = {}
    for model, (row_s, prompt_s, output_s) in RATES.items():
        groups = [
            {"what": "group", "prompt_tokens": some, "output_tokens": [64] * 16,
             "one_token_s": [16 * (row_s + output_s) + prompt_s * sum(some)],
             "whole_s": [16 * (row_s + 64 * output_s) + prompt_s * sum(some)]}
            for some in lengths
        ]  # fmt: skip
        parts[f"decoding-{model}"] = groups
    parts["probing-toy-small"] = [
        {"what": "group", "prompt_tokens": some, "whole_s": [16 * PROBE_ROW_S + PROBE_TOKEN_S * sum(some)]}
        for some in lengths
    ] + [
        {
            "what": "probe",
            "way": "engine",
            "batch": "64 rows",
            "rows": 100,
            "tokens": 8000,
            "flops": 3e12,
            "seconds": 0.02,
            "peak_gib": 3.0,
        }
    ]
    parts["encoder"] = [{"dtype": "float32", "rows": 10, "seconds": 10 * judge_s, "flops": 1e12, "peak_gib": 2.0}]
    parts["ceilings"] = [{"what": "matmul", "dtype": "bfloat16", "flops_per_s": 5e14}, {"what": "copy", "bytes_per_s": 3e12}]  # fmt: skip
    return {name: {"figures": figures, "complete": True, "why": None} for name, figures in parts.items()}


def test_invented_figures_give_their_rates_back_and_the_targets_are_judged() -> None:
    made = {"device": "a GPU", "torch": "2", "transformers": "5", "dtype": "bfloat16", "sizes": "invented"}
    summary = summarise(invented(judge_s=1e-4), TOY, made, "gpu_s")
    (pair,) = summary["pairs"]
    prompt, source = corpus_tokens()
    assert len(prompt) == CORPUS_ROWS
    probe = PROBE_ROW_S + PROBE_TOKEN_S * prompt.mean()
    small, large = (
        row_s + prompt_s * prompt.mean() + output_s * (1 + source.mean())
        for row_s, prompt_s, output_s in RATES.values()
    )
    assert pair["mean_row_s"] == pytest.approx({"probe": probe, "small": small, "large": large}, rel=1e-3)
    assert pair["cascade_factor"] == pytest.approx((small + 1e-4) / probe, rel=1e-3)
    assert pair["relative_error"]["large"] == pytest.approx(0, abs=1e-3)
    assert summary["probe"][0]["flop_share"] == pytest.approx(3e12 / 0.02 / 5e14)
    text = markdown(summary)
    assert f"| probe / decoding with the small model | {probe / small:.3f} | < 0.1: met |" in text
    assert f"| decoding and judging / probe | {(small + 1e-4) / probe:.1f} | > 5: met |" in text
    assert "| 100 hours (gpu_s) | ms per row | million rows | relative to all large |" in text
    assert "| toy-small | engine | 64 rows | 5,000 | 400,000 | 30.0% | 3.0 |" in text
    parts = invented(judge_s=1e-9)
    for group in parts["probing-toy-small"]["figures"]:
        group["whole_s"] = [20 * seconds for seconds in group.get("whole_s", ())]
    text = markdown(summarise(parts, TOY, made, "gpu_s"))
    assert "< 0.1: **missed**" in text and "> 5: **missed**" in text


def test_what_was_not_measured_is_left_out() -> None:
    made = {"device": "a GPU", "torch": "2", "transformers": "5", "dtype": "bfloat16", "sizes": "none"}
    text = markdown(summarise({}, TOY, made, "gpu_s"))
    assert text == "a GPU, torch 2, transformers 5, bfloat16, sizes: none\n"
    parts = invented(1.0)
    del parts["decoding-toy-large"], parts["ceilings"]
    summary = summarise(parts, TOY, made, "gpu_s")
    assert summary["pairs"] == [] and summary["probe"][0]["flop_share"] is None
    assert "| toy-small | engine | 64 rows | 5,000 | 400,000 |  | 3.0 |" in markdown(summary)
