"""Settings of the engine `openai`: a section of every model, read where its `engine` is `openai`."""

import re
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urlsplit

from routelmt_ray.config.loader import choice, option
from routelmt_ray.config.secrets import secrets

APIS = ("completions", "chat")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_LIKE_A_KEY = re.compile(r"(sk|hf|gsk|pplx|xai)[-_][A-Za-z0-9_]{8,}|(?=.*\d)[A-Za-z0-9]{20,}")


@dataclass(frozen=True)
class EndpointConfig:
    """The servers of a model, and the way to ask them. Keys come from the environment and are never written."""

    # Checked below, where a message cannot show a password.
    urls: list[str] = option([], "a list of addresses, each once", lambda v: True)
    """Addresses of servers of the same model, including `/v1`. Each request goes to the server with the fewest requests
    in flight. A server that fails is left out and tried again later."""
    model: str = ""
    """Name of the model at the server. Every answer must give it."""
    served_model: Optional[str] = None
    """Name that answers give, where `model` is an alias; null: `model`."""
    api: str = choice("completions", APIS)
    """`completions`: prompts are token ids, and the end tokens are sent with them; vLLM and SGLang take both. `chat`:
    the rendered prompt is one user message, and the server applies its own chat template."""
    api_key_env: Optional[str] = None
    """Name of the environment variable with the key, on this machine and on those of the engines; null: no key."""
    headers_env: dict[str, str] = option(
        {}, "a mapping of header names to names of environment variables", lambda v: True
    )
    """More headers of each request: name of the header, and name of the environment variable with its value."""
    concurrency: int = option(64, "an integer of at least 1", lambda v: v >= 1)
    """Largest number of requests in flight from one engine, at all servers together. `pool.actors` multiplies it."""
    timeout_s: float = option(600.0, "a number above 0", lambda v: v > 0)
    """Seconds after which a request without an answer is given up."""
    patience_s: float = option(300.0, "a number above 0", lambda v: v > 0)
    """Seconds for which all servers may fail or be busy before the work on a shard fails."""
    max_model_len: Optional[int] = option(None, "null or an integer of at least 2", lambda v: v is None or v >= 2)
    """Largest number of tokens of a prompt and its answer together at the server; null: the model's context."""
    extra: dict[str, Any] = option({}, "a mapping of names to values", lambda v: all(isinstance(k, str) for k in v))
    """More fields of each request, e.g. `{chat_template_kwargs: {enable_thinking: false}}`."""

    def __post_init__(self) -> None:
        """Refuses secrets, because a configuration is written to manifests, reports and logs."""
        names = {"api_key_env": self.api_key_env} | {f"headers_env.{k}": v for k, v in self.headers_env.items()}
        for key, name in names.items():
            if name is not None and (not _VARIABLE.fullmatch(name) or _LIKE_A_KEY.fullmatch(name)):
                raise ValueError(
                    f"endpoint.{key} is not the name of an environment variable; give the name of one, not its content, which would "
                    "be written to the manifest and the reports"
                )
        if secret := next(secrets("endpoint.extra", self.extra), None):
            raise ValueError(f"{secret} looks like a secret; give secrets through endpoint.headers_env")
        for place, url in enumerate(self.urls):
            try:
                parts = urlsplit(url)
            except ValueError as error:
                raise ValueError(
                    f"endpoint.urls[{place}] is no address ({error}); one is like http://host:8000/v1"
                ) from None
            if "@" in (parts.netloc or url) or parts.query or parts.fragment:
                raise ValueError(
                    f"endpoint.urls[{place}] has a user, a password, a query or a fragment, which would be written to the manifest and the "
                    "reports; give the bare address, and secrets through endpoint.api_key_env or endpoint.headers_env"
                )
            if url in self.urls[:place]:
                raise ValueError(f"endpoint.urls has {url!r} twice; name each server once")

    @property
    def answers_as(self) -> str:
        """The name that every answer must give."""
        return self.served_model or self.model
