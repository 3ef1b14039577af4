"""An engine that returns its input: for tests of the plumbing, at the speed of the plumbing."""

from collections.abc import Sequence

from routelmt_ray.engines import Completion, Prompt


class EchoEngine:
    """Answers every prompt with its own source text."""

    halved = 0

    def translate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """The source texts, in order."""
        return [Completion(prompt.text, 0, "stop") for prompt in prompts]
