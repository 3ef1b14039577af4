"""The engine of a model that is served already, by vLLM, SGLang, a gateway or a vendor, with OpenAI's interface.

Its answers are those of `vllm`, except for rounding, where the server takes token ids: prompts, end tokens and the limit
of each row are the same, and decoding is greedy. No model runs in this process.
"""

from collections.abc import Sequence

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import HARMLESS, Completion, Prompt
from routelmt_ray.engines.answers import AnswerReader
from routelmt_ray.engines.batching import blame_engine
from routelmt_ray.engines.credentials import Credentials
from routelmt_ray.engines.openai_checks import check_openai
from routelmt_ray.engines.openai_client import Client
from routelmt_ray.engines.openai_wire import Answer, Fault, FaultKind
from routelmt_ray.engines.tokenizers import shipped_generation


class OpenaiEngine:
    """Translates prompts at an endpoint. Several threads may call it at once."""

    halved = 0

    def __init__(self, config: ModelConfig) -> None:
        """Reads tokenizer and credentials. Args: config: the model and its endpoint. Raises ValueError if the settings
        do not fit, or a variable with a secret is not set."""
        check_openai("model", config)
        self._reading = AnswerReader.of(config, shipped_generation(config))
        credentials = Credentials("models.*", config.endpoint)
        self._client = Client(config.endpoint, credentials, sorted(self._reading.ends), HARMLESS)

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Translates every prompt, each up to its own limit. Raises EveryRowFailed if no server works, or all prompts
        failed and the server is the cause."""
        found = self._client.ask(prompts)
        errors = [one for one in found if isinstance(one, Fault) and one.kind is not FaultKind.FILTERED]
        if errors and len(errors) == len(found):
            blame_engine(errors, self._ask_harmless)
        return [self._read(one, prompt)._replace(charged=one.charged) for one, prompt in zip(found, prompts)]

    def usage(self) -> dict[str, float]:
        """Sums up requests, tokens and seconds in flight so far."""
        return self._client.usage()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _ask_harmless(self) -> None:
        (found,) = self._client.ask([HARMLESS])
        if isinstance(found, Fault):
            raise found

    def _read(self, found: Answer | Fault, prompt: Prompt) -> Completion:
        if isinstance(found, Fault):
            return Completion(None, 0, "filtered" if found.kind is FaultKind.FILTERED else "error", str(found))
        if found.ids is None:
            return self._reading.from_text(found.text, found.tokens, found.finish, prompt.text, found.thinking)
        read = self._reading.completion(list(found.ids), prompt.text)
        return read._replace(finish="stop") if found.finish == "stop" else read  # a server may have more end tokens
