"""An engine that returns its input, for fast tests of everything around the models."""

from collections.abc import Sequence

from routelmt_ray.config.common import ModelConfig
from routelmt_ray.engines import Completion, Prompt


class EchoEngine:
    """Answers every prompt with its own source text."""

    halved = 0

    def __init__(self, config: ModelConfig) -> None:
        """Args: config: not used."""

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Returns the source texts as translations, in order."""
        return [Completion(prompt.text, 0, "stop") for prompt in prompts]
