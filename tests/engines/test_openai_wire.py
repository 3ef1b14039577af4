"""The form of requests and answers, and the kind of every fault, without a server."""

import email.utils
import json
import time
from typing import Any

import pytest

from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.engines import Prompt
from routelmt_ray.engines.openai_wire import Answer, Fault, FaultKind, address, answer, counted, read, request

TOKENS = EndpointConfig(urls=["http://a/v1/"], model="m", extra={"top_k": 1})
CHAT = EndpointConfig(urls=["http://a/v1"], model="m", api="chat")
PROMPT = Prompt([5, 6], 9, "Hallo", "Translate: Hallo")


def body(**changes: Any) -> dict[str, Any]:
    choice = {"text": "Hello", "finish_reason": "stop", "token_ids": [7, 8]} | changes.pop("choice", {})
    usage = {"prompt_tokens": 2, "completion_tokens": 2}
    return {"model": "m", "choices": [choice], "usage": usage} | changes


def test_a_completion_is_greedy_with_token_ids_and_our_own_ends() -> None:
    assert address("http://a/v1/", TOKENS) == "http://a/v1/completions"
    assert request(TOKENS, PROMPT, [1, 2]) == {
        "model": "m", "prompt": [5, 6], "max_tokens": 9, "temperature": 0.0, "stop_token_ids": [1, 2], "ignore_eos": True,
        "return_token_ids": True, "repetition_penalty": 1.0, "top_k": 1,
    }  # fmt: skip


def test_a_chat_has_the_rendered_prompt_and_only_fields_that_every_server_knows() -> None:
    assert address("http://a/v1", CHAT) == "http://a/v1/chat/completions"
    assert request(CHAT, PROMPT, [1, 2]) == {
        "model": "m", "messages": [{"role": "user", "content": "Translate: Hallo"}], "max_tokens": 9, "temperature": 0.0
    }  # fmt: skip


def test_an_answer_is_read() -> None:
    assert answer(body(), "m") == Answer("Hello", (7, 8), "stop", 2)
    chat = {"message": {"content": None}, "finish_reason": "length", "token_ids": None}
    usage = {"prompt_tokens": 2, "completion_tokens": 40, "completion_tokens_details": {"reasoning_tokens": 40}}
    assert answer(body(choices=[chat], usage=usage), "m") == Answer("", None, "length", 40, 40)
    assert counted(body()) == (2, 2)


def test_tokens_count_with_all_reasoning_and_only_where_the_server_names_both() -> None:
    both = {"prompt_tokens": 7, "completion_tokens": 3}
    assert counted({"usage": both}) == counted({"usage": both | {"total_tokens": 10}}) == (7, 3)
    assert counted({"usage": both | {"total_tokens": 90}}) == (7, 83), "reasoning is in the total alone"
    assert counted({"usage": both | {"completion_tokens": 0}}) == (7, 0)
    unknown = [
        None,
        {},
        {"prompt_tokens": "7"},
        {"prompt_tokens": 7},
        {"completion_tokens": 3},
        both | {"prompt_tokens": 0},
    ]
    assert {counted({"usage": usage}) for usage in [*unknown, both | {"completion_tokens": None}]} == {(0, 0)}


@pytest.mark.parametrize(
    "content, kind",
    [
        (body(model="other"), FaultKind.OTHER_MODEL),
        (body(model=None), FaultKind.OTHER_MODEL),
        (body(choice={"finish_reason": "content_filter"}), FaultKind.FILTERED),
        (body(choice={"finish_reason": None}), FaultKind.DOWN),
        (body(choice={"finish_reason": "abort"}), FaultKind.DOWN),
        (body(choice={"finish_reason": "tool_calls"}), FaultKind.ROW),
        (body(choices=[]), FaultKind.DOWN),
        (body(choices=None), FaultKind.DOWN),
    ],
)
def test_an_answer_that_is_no_use_is_a_fault(content: dict[str, Any], kind: FaultKind) -> None:
    with pytest.raises(Fault) as fault:
        answer(content, "m")
    assert fault.value.kind is kind


@pytest.mark.parametrize(
    "status, error, kind",
    [
        (400, {"message": "429 too long", "code": 400}, FaultKind.ROW),
        (422, {}, FaultKind.ROW),
        (413, {}, FaultKind.ROW),
        (400, {"code": "content_filter"}, FaultKind.FILTERED),
        (403, {"code": "content_policy_violation"}, FaultKind.FILTERED),
        (401, {}, FaultKind.REFUSED),
        (403, {}, FaultKind.REFUSED),
        (404, {"message": "no such model"}, FaultKind.REFUSED),
        (429, {}, FaultKind.BUSY),
        (429, {"code": "insufficient_quota"}, FaultKind.REFUSED),
        (503, {"message": "content_filter"}, FaultKind.BUSY),
        (500, {"code": ["odd"]}, FaultKind.DOWN),
        (502, {}, FaultKind.DOWN),
        (408, {}, FaultKind.SLOW),
        (307, {}, FaultKind.REFUSED),
    ],
)
def test_a_fault_is_known_by_status_and_code_never_by_words(
    status: int, error: dict[str, Any], kind: FaultKind
) -> None:
    for content in ({"error": error}, error):
        with pytest.raises(Fault, match=f"status {status}") as fault:
            read(status, {}, json.dumps(content).encode())
        assert fault.value.kind is kind


@pytest.mark.parametrize(
    "code, kind",
    [
        (429, FaultKind.BUSY),
        (400, FaultKind.ROW),
        ("content_filter", FaultKind.FILTERED),
        (None, FaultKind.DOWN),
        (7, FaultKind.DOWN),
    ],
)
def test_an_error_in_an_answer_that_says_it_succeeded_is_one(code: Any, kind: FaultKind) -> None:
    with pytest.raises(Fault, match="not today") as fault:
        read(200, {}, json.dumps({"error": {"code": code, "message": "not today"}}).encode())
    assert fault.value.kind is kind
    assert read(200, {}, json.dumps(body(error=None)).encode()) == body(error=None)


@pytest.mark.parametrize("content", [b"", b'{"model": "m", "choi', b"<html>", b"[]", b"\xff\xfe{"])
def test_a_body_that_is_not_whole_is_a_fault_of_the_server(content: bytes) -> None:
    with pytest.raises(Fault, match=f"{len(content)} bytes") as fault:
        read(200, {}, content)
    assert fault.value.kind is FaultKind.DOWN
    with pytest.raises(Fault, match="status 500"):
        read(500, {}, content)


@pytest.mark.parametrize(
    "value, least, most",
    [
        ("2.5", 2.5, 2.5),
        ("in 1000 s", 800, 1000),
        ("soon", 0, 0),
        ("-3", 0, 0),
        (None, 0, 0),
        ("nan", 0, 1e9),
        ("Mon, 01 Jan 0001 00:00:00 -0000", 0, 0),
    ],
)
def test_the_wait_that_a_busy_server_asks_for(value: str | None, least: float, most: float) -> None:
    if value == "in 1000 s":
        value = email.utils.formatdate(time.time() + 1000, usegmt=True)
    with pytest.raises(Fault) as fault:
        read(429, {} if value is None else {"Retry-After": value}, b"{}")
    assert least <= fault.value.after_s <= most
