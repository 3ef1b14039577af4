"""Passing faults of S3 and networks are retried, and what only a user can repair is said in one sentence."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from routelmt_ray import storage
from routelmt_ray.storage import s3
from routelmt_ray.storage.rundir import FORMAT, RunDir
from tests.s3.conftest import point_at
from tests.s3.proxy import CUT, DROP, DROP_ANSWER, INTERNAL, SLOW_DOWN, FaultProxy, Refusal, Request


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Botocore and s3fs wait between attempts as always, but for a fiftieth of the time."""
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds, *result: sleep(seconds / 50, *result))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few attempts, for errors that do not end."""
    monkeypatch.setattr(s3, "_RETRIES", {"mode": "legacy", "total_max_attempts": 2})
    monkeypatch.setattr(s3, "_BODIES", 2)
    s3._client_of.cache_clear()


@pytest.mark.parametrize("fault", [SLOW_DOWN, INTERNAL, DROP, DROP_ANSWER, CUT])
def test_every_operation_outlives_a_failure(bucket, proxy: FaultProxy, fault) -> None:
    failed: set[tuple[str, str]] = set()

    def once(request: Request) -> object:
        key = (request.method, request.target)
        return None if key in failed else failed.add(key) or fault

    proxy.decide = once
    run = RunDir(bucket)
    table = pa.table({"n": range(10)})
    run.commit("scores", 0, table, {"rows": 10})  # False where the answer was lost: the shard is there all the same
    assert run.committed("scores") == {0}
    assert run.metas("scores") == {0: {"rows": 10}}
    assert storage.read_table(run.shard_path("scores", 0)).equals(table)
    run.write_manifest({"n": 1})
    assert run.manifest() == {"n": 1, "format": FORMAT}
    assert storage.swap(bucket / "manifest.json", storage.read_bytes(bucket / "manifest.json"), b"{}")
    assert storage.read_bytes(bucket / "manifest.json") == b"{}"
    run.clear("scores")
    storage.remove(bucket / "manifest.json")
    assert storage.list_tree(bucket) == []
    assert proxy.faults >= 8


def test_many_threads_outlive_a_bad_spell(bucket, proxy: FaultProxy) -> None:
    proxy.decide = lambda request: [SLOW_DOWN, None, DROP, None, None, None][request.number % 6]
    run = RunDir(bucket)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda i: run.commit("scores", i, pa.table({"n": [i]}), {"i": i}), range(24)))
    assert run.metas("scores") == {i: {"i": i} for i in range(24)}
    assert proxy.faults > 20


def test_a_failure_that_does_not_end_is_given_up_in_words(bucket, proxy: FaultProxy, impatient) -> None:
    proxy.decide = lambda request: SLOW_DOWN
    with pytest.raises(
        storage.StorageError, match=r"^s3://.*/x: S3 goes on failing GetObject \(SlowDown, status 503\)$"
    ):
        storage.read_bytes(bucket / "x")
    assert 2 <= len(proxy.seen) <= 10
    proxy.decide = lambda request: DROP
    with pytest.raises(
        storage.StorageError, match=r"S3 cannot be reached .*see the network and AWS_ENDPOINT_URL"
    ) as said:
        storage.write_bytes(bucket / "x", b"1")
    assert str(proxy.port) not in str(said.value)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Refusal(403, "InvalidAccessKeyId"), "does not accept the credentials"),
        (Refusal(403, "SignatureDoesNotMatch"), "does not accept the credentials"),
        (Refusal(400, "ExpiredToken"), "does not accept the credentials"),
        (Refusal(403, "AccessDenied"), "no permission for"),
        (Refusal(400, "AuthorizationHeaderMalformed"), "the bucket is in another region"),
        (Refusal(404, "NoSuchBucket"), "there is no bucket test-"),
        (Refusal(501, "NotImplemented"), "goes on failing"),
    ],
)
def test_what_a_user_has_to_repair_is_said_for_every_operation(
    bucket, proxy: FaultProxy, impatient, refusal: Refusal, words: str
) -> None:
    proxy.decide = lambda request: refusal
    kind = storage.StorageError if refusal.status == 501 else storage.AddressRefused
    for use in (storage.read_bytes, storage.exists, storage.list_names, lambda path: storage.create(path, b"")):
        proxy.seen.clear()
        with pytest.raises(kind, match=rf"^s3://.*: .*{words}"):
            use(bucket)
        assert refusal.status == 501 or len(proxy.seen) <= 2  # one more where a region may have been corrected


def test_a_bucket_that_is_not_there_and_credentials_that_are_not(bucket, s3_server: int, monkeypatch) -> None:
    with pytest.raises(storage.AddressRefused, match="there is no bucket not-there"):
        RunDir("s3://not-there/run").manifest()
    point_at(monkeypatch, s3_server)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(storage.AddressRefused, match="no credentials .*set AWS_PROFILE"):
        storage.list_names(bucket)
