"""The error that ends a job before it has spent anything, and what an error says to a user."""


class Refused(ValueError):
    """The configuration, the corpus, the budget or the run directory does not serve; nothing is lost."""


def message_of(error: BaseException) -> str:
    """Reads the message of an error, without what Ray puts around one of a task."""
    return str(getattr(error, "cause", None) or error)
