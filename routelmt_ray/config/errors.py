"""The error that ends a job before any expensive work, and the texts of messages for a user.

A function that refuses something raises a ValueError. Its message says what is wrong, the value, and what to do.
"""

from collections.abc import Sequence


class Refused(ValueError):
    """The configuration, the corpus, the budget or the run directory cannot be used; nothing is lost."""


def message_of(error: BaseException) -> str:
    """Returns the message of an error, without the text that Ray adds to an error of a task."""
    return str(getattr(error, "cause", None) or error)


def first_of_many(names: Sequence[str], shown: int = 3) -> str:
    """Joins the first of many names, and adds the number of the others."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
