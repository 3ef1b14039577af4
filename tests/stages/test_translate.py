"""What a row's status is, by how the model answered."""

import pytest

from routelmt_ray.engines import Completion
from routelmt_ray.stages.translate import _result


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Completion("Der Hund", 9, "stop"), ("Der Hund", "ok", None)),
        (Completion("Der Hund", 9, "stop", None, 6), ("Der Hund", "ok", "its reasoning, 6 tokens, was left out")),
        (
            Completion("Der", 9, "length", None, 6),
            ("Der", "output_limit", "cut at 9 tokens; its reasoning, 6 tokens, was left out"),
        ),
        (Completion("", 9, "length", None, 9), (None, "empty_output", "still reasoning when it was cut at 9 tokens")),
        (Completion("", 1, "stop"), (None, "empty_output", "the model answered with nothing")),
        (Completion(None, 0, "error", "MemoryError"), (None, "engine_error", "MemoryError")),
    ],
)
def test_a_row_has_the_status_of_its_answer(answer: Completion, result: tuple[str | None, str, str | None]) -> None:
    assert _result(answer, None) == result
