"""The engine of served models: how answers become translations, and who is to blame where all rows fail."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.engines import EveryRowFailed, Prompt, open_engine
from routelmt_ray.engines.openai import OpenaiEngine
from routelmt_ray.engines.tokenizers import prompt_encoder
from tests.engines.conftest import SMALL
from tests.engines.openai_server import MODEL, Reply, Server, Trouble, served

PROMPTS = [Prompt([number, 5, 6], 9, "text", f"Translate {number}") for number in range(20)]


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as one:
        yield one


def engine(server: Server, api: str = "completions") -> OpenaiEngine:
    config = EndpointConfig(urls=[server.url], model=MODEL, api=api, concurrency=4, patience_s=30.0)
    opened = open_engine(replace(SMALL, engine="openai", endpoint=config))
    assert isinstance(opened, OpenaiEngine)
    return opened


def test_tokens_are_read_like_those_of_an_engine_in_process(server: Server) -> None:
    opened, tokenizer = engine(server), prompt_encoder(SMALL).tokenizer
    ids = tokenizer("the dog", add_special_tokens=False)["input_ids"]
    end = sorted(opened._reading.ends)[0]
    replies = [Reply("?", [*ids, end]), Reply("?", ids, "length"), Reply("?", ids, "stop"), Reply("?", [end])]
    server.model = lambda fields: replies[fields["prompt"][0]]
    found = opened.translate(PROMPTS[:4])
    text = tokenizer.decode(ids).strip()
    assert [(a.text, a.tokens - len(ids), a.finish) for a in found[:3]] == [
        (text, 1, "stop"), (text, 0, "length"), (text, 0, "stop")
    ]  # fmt: skip
    assert (found[3].text, found[3].finish) == ("", "stop")
    assert server.asked[0]["stop_token_ids"] == sorted(opened._reading.ends)
    opened.close()


def test_a_chat_is_read_from_its_text_without_reasoning(server: Server) -> None:
    opened = engine(server, api="chat")
    replies = {
        "Translate 0": Reply(" A dog. \n"), "Translate 1": Reply("<think>hm, a dog</think>A dog."),
        "Translate 2": Reply("A dog", finish="length"), "Translate 3": Reply(""),
    }  # fmt: skip
    server.model = lambda fields: replies[fields["messages"][0]["content"]]
    found = opened.translate(PROMPTS[:4])
    assert [(a.text, a.finish) for a in found] == [
        ("A dog.", "stop"),
        ("A dog.", "stop"),
        ("A dog", "length"),
        ("", "stop"),
    ]
    assert [a.thinking > 0 for a in found] == [False, True, False, False]
    opened.close()


def test_a_server_that_fails_on_every_row_fails_the_shard(server: Server) -> None:
    opened = engine(server)
    server.trouble = lambda fields, number: Trouble(400, {"error": {"message": "prompt must be text"}})
    with pytest.raises(EveryRowFailed, match="status 400: prompt must be text"):
        opened.translate(PROMPTS)
    server.trouble = lambda fields, number: Trouble(400, {}) if fields["prompt"][-1] == 6 else None
    found = opened.translate(PROMPTS[:3])  # the server answers a harmless prompt, so these rows are to blame
    assert [a.finish for a in found] == ["error"] * 3
    server.trouble = lambda fields, number: Trouble(400, {"error": {"code": "content_filter"}})
    assert {a.finish for a in opened.translate(PROMPTS)} == {"filtered"}
    opened.close()
