"""Whole jobs with models that are served: the rows are those of the engine in process, and secrets stay where they are."""

import json
import os
import queue
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import ray

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import HARMLESS, Completion, Prompt
from routelmt_ray.engines.answers import AnswerReader
from routelmt_ray.engines.hf import HfEngine
from tests.conftest import DEMO, ENDPOINT_KEY, Job, Undisturbed
from tests.end_to_end import label_runs, runs
from tests.engines.openai_server import MODEL, Reply, Server, Trouble, served

LARGE = DEMO / "models" / "large"
TROUBLES = {
    3: Trouble(429, {"error": {"message": "busy"}}, {"Retry-After": "0.2"}), 5: Trouble(reset=True), 8: Trouble(cut=True),
    11: Trouble(500, {}), 13: Trouble(model="another"), 17: Trouble(503, {}),
}  # fmt: skip
"""Faults by the number of the request."""


@dataclass(frozen=True)
class _Ids(AnswerReader):
    """Gives the generated tokens in place of their text."""

    def completion(self, ids: list[int], source: str) -> Completion:
        end = next((i for i, token in enumerate(ids) if token in self.ends), len(ids))
        return Completion(json.dumps(ids[: end + 1]), 0, "stop")


class Batched:
    """The large model of the embedded pair. Requests that are in flight together are one batch."""

    def __init__(self) -> None:
        self._engine = HfEngine(ModelConfig(path=str(LARGE), prompt="demo"))
        plain = self._engine._reading
        self._engine._reading = _Ids(plain.tokenizer, plain.ends, plain.opened)
        self._waiting: queue.Queue[tuple[Prompt, queue.Queue[Reply]]] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def __call__(self, fields: dict[str, Any]) -> Reply:
        at_the_start = fields["prompt"] == list(HARMLESS.ids)
        assert at_the_start or fields["stop_token_ids"] == sorted(self._engine._reading.ends)
        found: queue.Queue[Reply] = queue.Queue()
        self._waiting.put((Prompt(fields["prompt"], fields["max_tokens"], ""), found))
        return found.get()

    def _work(self) -> None:
        while True:
            calls = [self._waiting.get()]
            while not self._waiting.empty():
                calls.append(self._waiting.get())
            for answer, (prompt, found) in zip(self._engine.translate([prompt for prompt, _ in calls]), calls):
                ids = json.loads(str(answer.text))
                found.put(Reply("not read", ids, "length" if len(ids) == prompt.max_new_tokens else "stop"))


@pytest.fixture
def two_servers() -> Iterator[tuple[Server, Server]]:
    """One for each model."""
    with served() as small, served() as large:
        yield small, large


def endpoint(size: str, *servers: Server, api: str = "chat", path: Path = LARGE) -> list[str]:
    key = f"models.{size}"
    return [
        f"{key}.engine=openai", f"{key}.path={path}", f"{key}.prompt=demo", f"{key}.max_new_tokens=96",
        f"{key}.endpoint.urls=[{','.join(one.url for one in servers)}]", f"{key}.endpoint.model={MODEL}",
        f"{key}.endpoint.api={api}", f"{key}.endpoint.concurrency=8",
    ]  # fmt: skip


def write_texts(path: Path, texts: list[str]) -> list[str]:
    """Writes a corpus; returns the words that name it."""
    pq.write_table(pa.table({"source": texts}), path)
    return [f"input.path={path}", "input.source_lang=en", "input.target_lang=es", "router.kind=length"]


def leaks(folder: Path) -> list[Path]:
    """Files below a folder that hold the secret."""
    secret = os.environ[ENDPOINT_KEY].encode()
    return [file for file in folder.rglob("*") if file.is_file() and secret in file.read_bytes()]


def test_a_served_model_gives_the_rows_of_the_same_model_in_process(
    undisturbed_demo: Undisturbed, demo_corpus: pa.Table, job: Job, tmp_path: Path
) -> None:
    plain = undisturbed_demo.job.output()
    wanted = plain.filter(pc.equal(plain["model"], "large")).slice(0, 30)
    pq.write_table(wanted.select(demo_corpus.column_names), tmp_path / "in.parquet")
    with served(Batched()) as server, served(server.model) as other:
        server.trouble = lambda fields, number: TROUBLES.get(number)
        words = [
            f"input.path={tmp_path / 'in.parquet'}",
            "input.shard_rows=8",
            "router.kind=length",
            "router.path=null",
        ]
        words += [
            "budget.fraction=1.0",
            "models.small.engine=echo",
            f"models.large.endpoint.api_key_env={ENDPOINT_KEY}",
        ]
        words += endpoint("large", server, other, api="completions")
        ended = job.run(*words, config="configs/demo.yaml")
    columns = ["id", "source", "translation", "model", "status"]
    assert job.output().select(columns).equals(wanted.select(columns))
    assert server.headers[0]["Authorization"] == f"Bearer {os.environ[ENDPOINT_KEY]}"
    node = ray._private.worker._global_node
    assert node is not None and (logs := Path(node.get_logs_dir_path())).is_dir() and any(logs.rglob("*"))
    assert not leaks(job.run_dir) and not leaks(logs) and os.environ[ENDPOINT_KEY] not in ended.stdout + ended.stderr
    assert len(other.asked) > 5, "both servers are used"

    (large,) = [stage for stage in job.report()["spend"]["stages"] if stage["name"] == "large"]
    assert large["usage"]["answers"] >= 30 and large["usage"]["faults"] >= 1
    assert large["usage"]["prompt_tokens"] > 300 and large["usage"]["completion_tokens"] > 300
    assert "served       large " in ended.stdout and "completion tokens" in ended.stdout
    assert "At servers" in (job.run_dir / "report.html").read_text()


def test_a_row_that_servers_refuse_costs_that_row_alone(
    two_servers: tuple[Server, Server], job: Job, tmp_path: Path, without_ray: None
) -> None:
    small, large = two_servers
    texts = [f"Sentence {number}." for number in range(28)] + ["Too hard, this one" + "!" * 30, "Bad words" + "!" * 40]

    def trouble(of: str) -> Callable[[dict[str, Any], int], Trouble | None]:
        def decide(fields: dict[str, Any], number: int) -> Trouble | None:
            content = fields["messages"][0]["content"]
            if "Bad words" in content:
                return Trouble(400, {"error": {"message": "not allowed", "code": "content_filter"}})
            return Trouble(400, {"error": {"message": "no"}}) if "Too hard" in content and of == "large" else None

        return decide

    small.trouble, large.trouble = trouble("small"), trouble("large")
    words = write_texts(tmp_path / "in.parquet", texts) + endpoint("small", small) + endpoint("large", large)
    job.run(*words, "budget.fraction=0.5", "input.shard_rows=10")
    rows = job.output().to_pylist()
    assert [row["source"] for row in rows] == texts
    assert Counter(row["status"] for row in rows) == {"ok": 29, "content_filter": 1}
    assert all(row["source"] in row["translation"] for row in rows[:-1]), "the servers give the prompt back"
    assert (rows[-2]["route"], rows[-2]["model"], rows[-2]["error"]) == ("large", "small", "large: status 400: no")
    assert (rows[-1]["route"], rows[-1]["model"], rows[-1]["translation"]) == ("large", None, None)
    assert "not allowed" in rows[-1]["error"]
    assert job.report()["quarantined"] == 1
    asked = Counter(fields["messages"][0]["content"] for fields in large.asked)
    assert {times for content, times in asked.items() if "Hello" not in content} == {1}, "nothing is paid twice"


def test_a_job_whose_servers_die_fails_and_goes_on_when_they_are_back(
    two_servers: tuple[Server, Server], job: Job, tmp_path: Path, without_ray: None
) -> None:
    small, large = two_servers
    texts = [f"Sentence {number}." for number in range(40)]
    words = write_texts(tmp_path / "in.parquet", texts) + endpoint("small", small) + endpoint("large", large)
    words += ["budget.fraction=0.5", "input.shard_rows=10", "ray.rounds=1", "models.large.endpoint.patience_s=1"]
    large.trouble = lambda fields, number: Trouble(reset=True) if number >= 16 else None
    ended = job.run(*words, check=1)
    assert f"no server of {MODEL} works" in ended.stderr and "the same command resumes" in ended.stderr
    done = [
        place
        for path in (job.run_dir / "large").rglob("*.parquet")
        for place in pq.read_table(path)["place"].to_pylist()
    ]
    first = len(large.asked)
    large.trouble = lambda fields, number: None
    job.run(*words)
    again = {fields["messages"][0]["content"] for fields in large.asked[first:]}
    assert 2 < len(done) < 20 and not any(texts[place] in content for place in done for content in again), "paid once"
    rows = job.output()
    assert rows["source"].to_pylist() == texts and set(rows["status"].to_pylist()) == {"ok"}
    assert Counter(rows["model"].to_pylist()) == {"small": 20, "large": 20}


def test_labels_of_a_served_model_have_no_device_seconds(
    two_servers: tuple[Server, Server], tmp_path: Path, without_ray: None
) -> None:
    _, large = two_servers
    pq.write_table(pa.table({"source": ["A dog.", "A cat."], "human": ["A dog.", "Kot."]}), tmp_path / "in.parquet")
    words = [
        "input.source_lang=en",
        "input.target_lang=es",
        "input.columns.reference=human",
        "models.small.engine=echo",
    ]
    words += [*endpoint("large", large), "models.small.prompt=demo", "metrics.names=[chrf]"]
    label_runs.run(tmp_path / "run", tmp_path / "in.parquet", *words)
    rows = runs.output(tmp_path / "run").to_pylist()
    assert [(row["large_s"], row["small_s"] is not None, row["status"]) for row in rows] == [(None, True, "ok")] * 2
    assert [row["gain_chrf"] is not None for row in rows] == [True, True]


@pytest.mark.parametrize(
    "change, why",
    [
        (Trouble(401, {"error": {"message": "Incorrect key"}}), r"models\.large\.endpoint: http://\S+: status 401: Incorrect key"),
        (Trouble(403, {}), r"models\.large\.endpoint: http://\S+: status 403; compare"),
        (Trouble(404, {"error": {"message": "no model"}}), "status 404: no model; compare endpoint.urls, .model"),
        (Trouble(model="another"), "the model 'another', not 'served'; set endpoint.model, or endpoint.served_model"),
        (Trouble(302, b"", {"Location": "http://127.0.0.1:9/"}), "redirect, which is not followed"),
        (Trouble(reset=True), r"models\.large\.endpoint\.urls: none of 1 answers"),
        ("models.large.endpoint.urls=[]", "endpoint.urls is empty"),
        ("models.large.endpoint.urls=[ftp://a/v1]", "an address begins with http"),
        ("models.large.endpoint.urls=[http://me:secret@a/v1]", r"urls\[0\] has a user"),
        ("models.large.endpoint.model=", "endpoint.model is empty"),
        ("models.large.endpoint.api_key_env=sk-12345678", "api_key_env is not the name of an environment variable"),
        ("models.large.endpoint.api_key_env=NOT_SET_ANYWHERE", "'NOT_SET_ANYWHERE', a variable that is not set"),
        ("models.large.endpoint.extra={n: 2}", "extra.n cannot be set"),
        ("models.large.endpoint.extra={api_key: ABC}", "extra.api_key looks like a secret"),
        ("models.large.endpoint.headers_env={a b: HOME}", "not a valid name of a header"),
        ("models.large.pool.gpus=1", "pool.gpus is 1 with an endpoint"),
        ("models.large.num_beams=2", "num_beams is 2"),
        ("router.kind=probe", "router.kind=probe needs a small model with prompt states"),
        ("budget.dry_run=true", "budget.dry_run=true needs the device-seconds of both models"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_ray_starts(
    two_servers: tuple[Server, Server], job: Job, tmp_path: Path, no_cluster: None, change: Trouble | str, why: str
) -> None:
    small, large = two_servers
    words = write_texts(tmp_path / "in.parquet", ["A dog."]) + endpoint("small", small) + endpoint("large", large)
    if isinstance(change, Trouble):
        large.trouble = lambda fields, number: change
    else:
        words.append(change)
    refused = job.run(*words, "budget.fraction=0.5", check=2)
    assert re.search(why, refused.stderr), refused.stderr
    assert not (job.run_dir / "manifest.json").exists()
    assert "secret@" not in refused.stderr and "12345678" not in refused.stderr and "ABC" not in refused.stderr
