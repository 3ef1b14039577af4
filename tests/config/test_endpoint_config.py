"""The settings of served models: secrets are refused without being shown, and the example for a fleet fits its servers."""

import re

import pytest

from routelmt_ray.config import loader as configlib
from routelmt_ray.config.translate import TranslateConfig
from routelmt_ray.engines.openai_checks import check_openai
from tests.config.test_config import load
from tests.conftest import ROOT


@pytest.mark.parametrize(
    "word, why",
    [
        ("api_key=ABC-12345", r"api_key=\*\*\*: unknown key .*; did you mean models\.large\.endpoint\.api_key_env"),
        ("api_key={ABC: [", r"api_key=\*\*\*': the value is not valid YAML$"),
        ("api_key_env=sk-ABC12345", "api_key_env is not the name of an environment variable"),
        ("api_key_env=ABCa1b2c3d4e5f6a7b8c9", "api_key_env is not the name of an environment variable"),
        ("headers_env={X-Team: Bearer ABC}", r"headers_env\.X-Team is not the name of an environment variable"),
        ("urls=[http://me:ABC@a/v1]", r"urls\[0\] has a user"),
        ("urls=http://me:ABC@a/v1?k=ABC", r"urls=http://\*\*\*@a/v1\?\*\*\*: .*urls must be a list"),
        ("urls=[http://b/v1,me:ABC@a/v1]", r"urls\[1\] has a user"),
        ("urls=[http://me:ABC@a/v1,http://me:ABC@a/v1]", r"urls\[0\] has a user"),
        ("urls=[http://a/v1?api_key=ABC]", r"v1\?\*\*\*\]': the value is not valid YAML$"),
        ("urls=['http://a/v1?api_key=ABC']", r"urls\[0\] has a user, a password, a query"),
        ("extra={extra_headers: {x-api-key: ABC}}", r"extra\.extra_headers\.x-api-key looks like a secret"),
        ("extra={note: sk-proj-ABCdefgh}", r"extra\.note looks like a secret"),
        ("extra={Authorization: ABC}", r"extra\.Authorization looks like a secret"),
    ],
)
def test_a_secret_in_the_settings_is_refused_unseen(word: str, why: str) -> None:
    with pytest.raises(ValueError) as error:
        load(f"models.large.endpoint.{word}")
    assert re.search(why, str(error.value)), error.value
    assert "ABC" not in str(error.value)


def test_an_address_that_is_none_or_is_named_twice_is_refused() -> None:
    for urls, why in (
        ("http://[::1", r"urls\[0\] is no address"),
        ("http://a/v1,http://a/v1", "has 'http://a/v1' twice"),
    ):
        with pytest.raises(ValueError, match=why):
            load(f"models.large.endpoint.urls=['{urls}']".replace(",", "','"))


def test_the_example_for_a_fleet_asks_for_what_its_servers_serve() -> None:
    words = ["run_dir=r", "input.path=c", "input.source_lang=en", "input.target_lang=de", "router.path=r"]
    prices = [
        "budget.money=500",
        "price.small.gpu_hour=2.5",
        "price.large.input_tokens=0.8",
        "price.large.output_tokens=2.4",
    ]
    config = configlib.load(TranslateConfig, [str(ROOT / "configs" / "endpoint.yaml")], [*words, *prices])
    large = config.models.large
    check_openai("models.large", large)
    assert large.pool.gpus == 0 and config.models.small.pool.gpus == 1 and config.in_money
    page = (ROOT / "cluster" / "README.md").read_text()
    (command,) = re.findall(r"vllm serve NiuTrans/LMT-60-8B.*?```", page, re.DOTALL)
    asked = large.endpoint
    for flag in (
        f"serve {large.path} ",
        f"--served-model-name {asked.model} ",
        f"--max-model-len {asked.max_model_len} ",
        "--generation-config vllm",
    ):
        assert flag in command, flag
    assert {f":{port}/v1" for port in re.findall(r"--port (\d+)", command)} == {url[-8:] for url in asked.urls}
