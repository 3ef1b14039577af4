"""Writes requests and reads answers in the form of OpenAI's interface. Nothing here sends anything.

A fault is known by the status of the answer and by the fields of its error, never by words in its message.
"""

import email.utils
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from routelmt_ray.config.endpoint import EndpointConfig
from routelmt_ray.engines import Prompt

OURS = frozenset(
    ("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "stream", "stream_options", "n", "best_of", "stop",
     "stop_token_ids", "ignore_eos", "return_token_ids", "echo", "use_beam_search")
)  # fmt: skip
"""Fields of a request that the engine sets, or on which it depends."""
_REFUSALS = (401, 402, 403, 404, 405, 407)
_BUSY = (429, 503, 529)
_SLOW = (408,)
_GAVE_UP = (408, 504)
"""Statuses of a request on which a server may have worked. Of other errors, a refused row may cost its prompt, and what a content
filter refuses all of it."""
_FILTERS = ("content_filter", "content_policy_violation", "content_management_policy")
_NO_MONEY = ("insufficient_quota",)


class FaultKind(Enum):
    """The kinds of faults, by the reaction to them."""

    BUSY = "busy"
    """The server has too much to do: wait."""
    DOWN = "down"
    """The server or the way to it is broken: try another."""
    SLOW = "slow"
    """No answer came in time."""
    REFUSED = "refused"
    """The server refuses all requests: a wrong address, key or model."""
    OTHER_MODEL = "other model"
    """The answer is of another model."""
    ROW = "row"
    """The server refuses only this request."""
    FILTERED = "filtered"
    """A content filter refuses only this request."""


class Fault(Exception):
    """A request without a usable answer."""

    charged: tuple[int, int] = (0, 0)
    """Prompt and completion tokens that were charged for its row, repeated requests included."""

    def __init__(self, kind: FaultKind, message: str, after_s: float = 0.0, may_cost: bool = True) -> None:
        """Args: kind: of fault; message: what is wrong; after_s: seconds that the server asks to wait; may_cost: false where the
        server has surely charged nothing."""
        super().__init__(message)
        self.kind, self.after_s, self.may_cost = kind, after_s, may_cost


@dataclass(frozen=True)
class Answer:
    """One answer."""

    text: str
    """The text, as the server gives it."""
    ids: tuple[int, ...] | None
    """Generated tokens; None where the server does not give them."""
    finish: str
    """`stop` or `length`."""
    tokens: int
    """Number of generated tokens."""
    thinking: int = 0
    """Number of tokens of reasoning that the server left out of the text."""
    charged: tuple[int, int] = (0, 0)
    """Prompt and completion tokens that were charged for its row, repeated requests included."""


def address(url: str, config: EndpointConfig) -> str:
    """Builds the address to which requests are sent."""
    return url.rstrip("/") + ("/completions" if config.api == "completions" else "/chat/completions")


def request(config: EndpointConfig, prompt: Prompt, ends: Sequence[int]) -> dict[str, Any]:
    """Builds the fields of a request for one greedy answer."""
    common = {"model": config.model, "max_tokens": prompt.max_new_tokens, "temperature": 0.0, **config.extra}
    if config.api == "chat":
        return {"messages": [{"role": "user", "content": prompt.content}], **common}
    # Penalties and other end tokens in the files of a model must not affect a translation.
    own = {"stop_token_ids": list(ends), "ignore_eos": True, "return_token_ids": True, "repetition_penalty": 1.0}
    return {"prompt": list(prompt.ids), **own, **common}


def read(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Reads the body of an answer that says it succeeded. Raises Fault if the status says otherwise, or the body is not
    whole."""
    if 300 <= status < 400:
        raise Fault(
            FaultKind.REFUSED,
            f"status {status}: a redirect, which is not followed; give the final address",
            may_cost=False,
        )
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if status >= 400:
        raise _fault(status, headers, content if isinstance(content, dict) else {})
    if not isinstance(content, dict):
        raise Fault(FaultKind.DOWN, f"an answer of {len(body)} bytes that is not whole JSON")
    if isinstance(error := content.get("error"), dict) and "choices" not in content:  # some gateways say it so
        code = error.get("code")
        raise _fault(code if isinstance(code, int) and 400 <= code < 600 else 500, headers, content)
    return content


def counted(content: Mapping[str, Any]) -> tuple[int, int]:
    """Reads how many tokens were charged: of the prompt, and of the answer with its reasoning; (0, 0) unless the server names both."""
    usage = content.get("usage")
    if not isinstance(usage, dict) or not isinstance(usage.get("completion_tokens"), int):
        return 0, 0
    prompt, completion, total = (_count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    # Some servers count reasoning in the total alone, and charge for it.
    return (prompt, max(completion, total - prompt)) if prompt else (0, 0)


def answer(content: Mapping[str, Any], model: str) -> Answer:
    """Reads the answer from the content of :func:`read`. Raises Fault if it is not of the given model, was filtered, or
    is not whole."""
    if content.get("model") != model:
        raise Fault(FaultKind.OTHER_MODEL, f"an answer of the model {content.get('model')!r}, not {model!r}")
    choice = _first(content.get("choices"))
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    finish = choice.get("finish_reason")
    if finish == "content_filter":
        raise Fault(FaultKind.FILTERED, "the server's content filter ended the answer")
    if finish is None or finish == "abort":
        raise Fault(FaultKind.DOWN, "an answer that the server did not end")
    if finish not in ("stop", "length"):
        raise Fault(FaultKind.ROW, f"the server ended the answer with finish_reason {finish!r}")
    ids = choice.get("token_ids")
    usage = content.get("usage")
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    return Answer(
        text if isinstance(text, str) else "",
        tuple(ids) if isinstance(ids, list) else None,
        finish,
        counted(content)[1],
        _count(details.get("reasoning_tokens")) if isinstance(details, dict) else 0,
    )


def _first(choices: Any) -> dict[str, Any]:
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    raise Fault(FaultKind.DOWN, "an answer without choices")


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _fault(status: int, headers: Mapping[str, str], content: Mapping[str, Any]) -> Fault:
    error = content.get("error")
    error = error if isinstance(error, dict) else content
    codes = {error.get("code"), error.get("type")} if _hashable(error) else set()
    words = " ".join(str(error.get("message") or "").split())  # not cut here: half a secret could not be found
    message = f"status {status}" + (f": {words}" if words else "")
    if codes & set(_FILTERS):
        return Fault(FaultKind.FILTERED, message)  # Azure charges for the prompt and for what it had generated
    if status in _REFUSALS or codes & set(_NO_MONEY):
        return Fault(FaultKind.REFUSED, message, may_cost=False)
    if status in _BUSY:
        return Fault(FaultKind.BUSY, message, _retry_after(headers.get("Retry-After")), may_cost=False)
    if status in _SLOW:
        return Fault(FaultKind.SLOW, message)
    return Fault(FaultKind.DOWN if status >= 500 else FaultKind.ROW, message, may_cost=status in _GAVE_UP)


def _hashable(error: Mapping[str, Any]) -> bool:
    return all(isinstance(error.get(key), str | int | None) for key in ("code", "type"))


def _retry_after(value: str | None) -> float:
    """Seconds to wait, from a number of seconds or a date; 0 where there is none."""
    if not value:
        return 0.0
    try:
        return max(0.0, min(float(value), 1e9))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
