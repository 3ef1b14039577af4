"""Faults of servers by kind: what is repeated, what fails alone, and when the work ends, with a server that fails on order."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.engines import HARMLESS, Prompt, balance, openai_client
from routelmt_ray.engines.credentials import Credentials
from routelmt_ray.engines.openai_client import USAGE, Client, EndpointDown
from routelmt_ray.engines.openai_wire import Answer, Fault, FaultKind
from tests.engines.openai_server import MODEL, Server, Trouble, served

PROMPTS = [Prompt([number, 1], 9, "") for number in range(40)]
SECRET = "planted-in-the-environment"
BAD = 7
"""The row that something is wrong with."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses before another try double as always, but begin with a tenth of the time."""
    for module in (balance, openai_client):
        monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as one:
        yield one


@contextmanager
def client(*servers: Server | str, **settings: Any) -> Iterator[Client]:
    urls = [one if isinstance(one, str) else one.url for one in servers]
    config = EndpointConfig(
        **{"urls": urls, "model": MODEL, "concurrency": 8, "patience_s": 30.0, "timeout_s": 30.0} | settings
    )
    opened = Client(config, Credentials("models.large", config), [2], HARMLESS)
    try:
        yield opened
    finally:
        opened.close()


def texts(found: list[Answer | Fault]) -> list[str]:
    return [one.text if isinstance(one, Answer) else one.kind.value for one in found]


WANTED = [f"{number} 1" for number in range(40)]


def of_row(trouble: Trouble, row: int = BAD) -> Callable[[dict[str, Any], int], Trouble | None]:
    return lambda fields, number: trouble if fields["prompt"] == [row, 1] else None


def test_answers_have_the_order_of_prompts_with_many_in_flight(server: Server) -> None:
    server.trouble = lambda fields, number: Trouble(wait_s=0.02 * (number % 3))
    with client(server) as asked:
        assert texts(asked.ask(PROMPTS)) == WANTED
        assert asked.ask([]) == []
        usage = asked.usage()
    assert 2 <= server.most_in_flight <= 8
    assert usage.pop("in_flight_s") > 0.2
    assert usage == {
        "requests": 40, "answers": 40, "faults": 0, "prompt_tokens": 80, "completion_tokens": 40,
        "assumed_prompt_tokens": 0, "assumed_completion_tokens": 0,
    }  # fmt: skip


def test_callers_in_several_threads_share_the_limit(server: Server) -> None:
    server.trouble = lambda fields, number: Trouble(wait_s=0.01)
    with client(server, concurrency=5) as asked, ThreadPoolExecutor(4) as threads:
        assert [texts(found) for found in threads.map(asked.ask, [PROMPTS] * 4)] == [WANTED] * 4
    assert server.most_in_flight == 5


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.1"}),
        Trouble(503, {}),
        Trouble(500, {}),
        Trouble(502, b"<html>"),
        Trouble(reset=True),
        Trouble(cut=True),
        Trouble(model="another"),
        Trouble(body={"model": MODEL, "choices": []}),
    ],
    ids=["429", "503", "500", "502", "reset", "truncated", "other model", "no choices"],
)
def test_a_fault_that_passes_costs_nothing_but_time(server: Server, trouble: Trouble) -> None:
    server.trouble = lambda fields, number: trouble if 5 <= number < 12 else None
    with client(server) as asked:
        assert texts(asked.ask(PROMPTS)) == WANTED
        assert asked.usage()["faults"] >= 7


@pytest.mark.parametrize(
    "trouble, kind, times",
    [
        (Trouble(400, {"error": {"message": "too long"}}), FaultKind.ROW, 1),
        (Trouble(400, {"error": {"code": "content_filter"}}), FaultKind.FILTERED, 1),
        (Trouble(500, {}), FaultKind.DOWN, 5),
        (Trouble(403, {"error": {"type": "content_policy_violation"}}), FaultKind.FILTERED, 1),
        (Trouble(wait_s=1.5), FaultKind.SLOW, 2),
    ],
    ids=["400", "filtered", "500", "filtered with 403", "slow"],
)
def test_a_row_that_the_server_cannot_do_fails_alone(
    server: Server, trouble: Trouble, kind: FaultKind, times: int
) -> None:
    server.trouble = of_row(trouble)
    with client(server, timeout_s=0.75, patience_s=4.0) as asked:
        found = asked.ask(PROMPTS)
    assert texts(found) == [kind.value if row == BAD else text for row, text in enumerate(WANTED)]
    assert sum(fields["prompt"] == [BAD, 1] for fields in server.asked) == times


@pytest.mark.parametrize(
    "trouble, charged, assumed",
    [
        (Trouble(429, {}), (2, 1), (0, 0)),
        (Trouble(503, {}), (2, 1), (0, 0)),
        (Trouble(500, {}), (2, 1), (0, 0)),
        (Trouble(504, {}), (4, 10), (2, 9)),
        (Trouble(reset=True), (4, 10), (2, 9)),
        (Trouble(cut=True), (4, 10), (2, 9)),
        (Trouble(wait_s=1.2), (4, 10), (2, 9)),
        (Trouble(model="another"), (4, 2), (0, 0)),
        (Trouble(body={"model": MODEL, "choices": []}), (4, 10), (2, 9)),
        (Trouble(body={"model": MODEL, "choices": [{"text": "7 1", "finish_reason": "stop"}]}), (2, 9), (2, 9)),
        (Trouble(body={"model": MODEL, "choices": [{"text": "7 1", "finish_reason": "stop"}], "usage": {"prompt_tokens": 2}}), (2, 9), (2, 9)),
    ],
    ids=["429", "503", "500", "504", "reset", "truncated", "slow", "other model", "no choices", "no usage", "half a usage"],
)  # fmt: skip
def test_a_row_is_charged_for_all_that_a_server_may_have_charged_for(
    server: Server, trouble: Trouble, charged: tuple[int, int], assumed: tuple[int, int]
) -> None:
    server.trouble = lambda fields, number: trouble if number == 0 else None
    with client(server, timeout_s=0.6) as asked:
        (found,) = asked.ask(PROMPTS[BAD : BAD + 1])
        usage = asked.usage()
    assert isinstance(found, Answer) and found.charged == charged
    assert (usage["assumed_prompt_tokens"], usage["assumed_completion_tokens"]) == assumed


def test_a_row_that_fails_alone_is_charged_too_and_no_connection_costs_nothing(server: Server) -> None:
    server.trouble = of_row(Trouble(cut=True))
    with client(server, patience_s=4.0) as asked:
        (found,) = asked.ask(PROMPTS[BAD : BAD + 1])
    assert isinstance(found, Fault) and found.charged == (5 * 2, 5 * 9)
    filtered = {
        "model": MODEL,
        "choices": [{"text": "", "finish_reason": "content_filter"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1},
    }
    refusals = [Trouble(400, {}), Trouble(400, {"error": {"code": "content_filter"}}), Trouble(body=filtered)]
    for trouble, charged in zip(refusals, [(2, 0), (2, 9), (2, 1)]):  # Azure charges for what a filter refuses
        server.trouble = of_row(trouble)
        with client(server) as asked:
            (found,) = asked.ask(PROMPTS[BAD : BAD + 1])
        assert isinstance(found, Fault) and found.charged == charged
    with client("http://127.0.0.1:9/v1", patience_s=0.2) as asked:
        with pytest.raises(EndpointDown):
            asked.ask(PROMPTS[:1])
        assert asked.usage()["assumed_prompt_tokens"] == 0


def test_requests_in_flight_count_in_full_until_they_are_answered(server: Server) -> None:
    may_answer = threading.Event()
    server.trouble = lambda fields, number: None if may_answer.wait(60) else Trouble(500)
    with client(server) as asked, ThreadPoolExecutor(1) as threads:
        answers = threads.submit(asked.ask, PROMPTS[:3])
        while server.in_flight < 3:
            time.sleep(0.01)
        flying = asked.usage()
        may_answer.set()
        answers.result()
        landed = asked.usage()
    assert [flying[name] for name in USAGE[3:7]] == [0, 0, 6, 27]
    assert [landed[name] for name in USAGE[3:7]] == [6, 3, 0, 0]


def test_a_single_row_that_kills_its_request_fails_alone_too(server: Server) -> None:
    server.trouble = of_row(Trouble(reset=True))
    with client(server, patience_s=4.0) as asked:
        (found,) = asked.ask(PROMPTS[BAD : BAD + 1])
    assert isinstance(found, Fault) and "5 tries failed" in str(found)
    assert [fields["prompt"] == list(HARMLESS.ids) for fields in server.asked].count(True) == 4, "the server works"


@pytest.mark.parametrize("status", [429, 503])
def test_a_row_for_which_a_working_server_is_always_busy_fails_alone(server: Server, status: int) -> None:
    server.trouble = of_row(Trouble(status, {"error": {"message": "too large"}}))
    with client(server, patience_s=0.3) as asked:
        assert texts(asked.ask(PROMPTS)) == [
            FaultKind.BUSY.value if row == BAD else text for row, text in enumerate(WANTED)
        ]
        (again,) = asked.ask(PROMPTS[BAD : BAD + 1])
    assert isinstance(again, Fault) and str(again).endswith(f"stays busy for this row: status {status}: too large")


def test_where_all_rows_but_the_harmless_find_a_server_busy_the_work_ends(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_client, "_MOST_ALONE", 2)
    server.trouble = lambda fields, number: Trouble(429, {}) if fields["prompt"] != list(HARMLESS.ids) else None
    with client(server, patience_s=0.15, concurrency=1) as asked, pytest.raises(EndpointDown, match="status 429"):
        asked.ask(PROMPTS)


def test_a_busy_server_is_not_asked_before_the_time_that_it_names(server: Server) -> None:
    times: list[float] = []

    def busy_first(fields: dict[str, Any], number: int) -> Trouble | None:
        times.append(time.monotonic())
        return Trouble(429, {}, {"Retry-After": "0.4"}) if number == 0 else None

    server.trouble = busy_first
    with client(server) as asked:
        assert texts(asked.ask(PROMPTS[:1])) == WANTED[:1]
    assert times[1] - times[0] >= 0.4, "its first pause would be a twentieth of a second"


def test_rows_that_wait_for_a_server_that_hangs_leave_the_processor_to_others(server: Server) -> None:
    hangs = Trouble(wait_s=0.5)
    server.trouble = lambda fields, number: Trouble(reset=True) if number < 8 else hangs if number == 8 else None
    with client(server) as asked:
        take, looked = asked._balance.take, list[float]()
        asked._balance.take = lambda *at: (looked.append(at[0]), take(*at))[1]  # type: ignore[method-assign]
        assert texts(asked.ask(PROMPTS)) == WANTED
    assert server.asked[8]["prompt"] == list(HARMLESS.ids)
    assert len(looked) < 200, "8 rows look 20 times a second"


def test_a_dead_server_is_left_out_and_its_rows_are_done_by_the_other() -> None:
    with served() as one, served() as other:
        one.trouble = lambda fields, number: Trouble(reset=True) if number >= 3 else Trouble(wait_s=0.01)
        other.trouble = lambda fields, number: Trouble(wait_s=0.01)
        with client(one, other, "http://127.0.0.1:9/v1") as asked:
            assert texts(asked.ask(PROMPTS)) == WANTED
        rows = [fields["prompt"] for fields in one.asked[3:] if fields["prompt"] != list(HARMLESS.ids)]
        assert len(rows) <= 8, "after its first faults it is only asked whether it works"


def test_one_that_comes_back_works_again(server: Server) -> None:
    port = server.server_address[1]
    server.shutdown()
    server.server_close()

    def come_back() -> None:
        time.sleep(0.3)
        with served(port=port):
            over.wait()

    over = threading.Event()
    with ThreadPoolExecutor(1) as thread, client(server, patience_s=20.0) as asked:
        thread.submit(come_back)
        assert texts(asked.ask(PROMPTS)) == WANTED
        over.set()


@pytest.mark.parametrize(
    "trouble, why",
    [
        (Trouble(reset=True), "ServerDisconnectedError|ClientOSError|Connection"),
        (Trouble(429, {}), "status 429"),
        (Trouble(429, {}, {"Retry-After": "3600"}), "3600|429"),
        (Trouble(401, {"error": {"message": "key expired"}}), "status 401: key expired"),
        (Trouble(model="another"), "'another', not 'served'"),
        (Trouble(307, b"", {"Location": "http://127.0.0.1:9/"}), "redirect"),
    ],
    ids=["reset", "429", "429 for an hour", "401", "other model", "redirect"],
)
def test_without_any_answer_for_long_the_work_ends(server: Server, trouble: Trouble, why: str) -> None:
    server.trouble = lambda fields, number: trouble if number >= 4 else None
    with client(server, patience_s=0.3) as asked:
        for _ in range(2):  # and a later shard asks again, and fails too
            with pytest.raises(EndpointDown, match=f"no server of served works.*({why})"):
                asked.ask(PROMPTS)


def test_secrets_are_sent_and_never_repeated(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET)
    monkeypatch.setenv("SOME_TEAM", SECRET + "-team")
    server.trouble = lambda fields, number: Trouble(400, {"error": {"message": f"wrong: Bearer {SECRET}"}})
    with client(server, api_key_env="SOME_KEY", headers_env={"X-Team": "SOME_TEAM"}) as asked:
        (found,) = asked.ask(PROMPTS[:1])
        assert (server.headers[0]["Authorization"], server.headers[0]["X-Team"]) == (
            f"Bearer {SECRET}",
            f"{SECRET}-team",
        )
        assert isinstance(found, Fault) and "wrong: Bearer ***" in str(found) and SECRET not in repr(found)
        # One secret begins with the other, and messages are cut, but not within a secret.
        server.trouble = lambda fields, number: Trouble(
            400, {"error": {"message": f"{SECRET}-team" + 380 * "x" + SECRET}}
        )
        (found,) = asked.ask(PROMPTS[:1])
    assert str(found).startswith("status 400: ***xxx") and "-team" not in str(found) and SECRET[:5] not in str(found)
    assert len(str(found)) <= 400


def test_a_variable_that_is_not_set_is_named() -> None:
    config = EndpointConfig(urls=["http://a/v1"], model="m", api_key_env="NOT_SET_ANYWHERE")
    with pytest.raises(ValueError, match=r"models\.large\.endpoint\.api_key_env is 'NOT_SET_ANYWHERE'.*not set"):
        Credentials("models.large", config)


def test_a_secret_of_two_lines_is_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f"{SECRET}\nX-Other: 1")
    config = EndpointConfig(urls=["http://a/v1"], model="m", api_key_env="SOME_KEY")
    with pytest.raises(ValueError, match="line break") as error:
        Credentials("models.large", config)
    assert SECRET not in str(error.value)


def test_a_redirect_is_not_followed_and_a_key_goes_nowhere_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET)
    with served() as other:
        server.trouble = lambda fields, number: Trouble(307, b"", {"Location": f"{other.url}/completions"})
        with client(server, api_key_env="SOME_KEY") as asked:
            (fault,) = asked.ask_each().values()
        assert fault.kind is FaultKind.REFUSED and len(server.asked) == 1 and not other.asked


def test_a_server_whose_certificate_nobody_signed_gets_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    day = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), day, day + timedelta(1))
    named = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "both.pem").write_bytes(private + named.sign(key, SHA256()).public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    url = server.url.replace("http:", "https:")
    with client(url, api_key_env="SOME_KEY") as asked:
        (fault,) = asked.ask_each().values()
    assert "certificate" in str(fault).lower() and not server.asked
