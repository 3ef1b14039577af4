"""The error that ends a job before any expensive work, and the message of an error for a user."""


class Refused(ValueError):
    """The configuration, the corpus, the budget or the run directory cannot be used; nothing is lost."""


def message_of(error: BaseException) -> str:
    """Returns the message of an error, without the text that Ray adds to an error of a task."""
    return str(getattr(error, "cause", None) or error)
