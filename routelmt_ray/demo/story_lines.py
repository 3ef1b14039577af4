"""Reads the outlines of stories from `stories.txt`."""

from dataclasses import dataclass
from functools import cache

from routelmt_ray.demo.links import read_frame
from routelmt_ray.demo.thought import Frame
from routelmt_ray.demo.vocabulary import lines


@dataclass(frozen=True)
class Step:
    """One line of a story."""

    subject: str
    tense: str
    choices: tuple[tuple[Frame, bool], ...]
    """Predicates to choose from, each with whether it is negated."""
    optional: str
    """`?` for a line that may be left out, `&` and `+` for one that needs the line before it."""
    connector: str = ""
    """Connector of a line that is the second clause of the sentence before it."""


@dataclass(frozen=True)
class Story:
    """The lines of a story and the class of its second participant."""

    domain: str
    second: str
    steps: tuple[Step, ...]


@cache
def load_stories() -> dict[str, tuple[Story, ...]]:
    """Reads the stories, by domain."""
    found: dict[str, list[Story]] = {}
    head: tuple[str, str] = ("", "")
    steps: list[Step] = []

    def close() -> None:
        if steps:
            found.setdefault(head[0], []).append(Story(head[0], head[1], tuple(steps)))

    for line in lines("stories.txt"):
        if line.startswith("["):
            close()
            domain, second = line.strip("[]").split()
            head, steps = (domain, second.removeprefix("B=")), []
            continue
        optional = line[:2].strip() if line[:2] in ("? ", "& ", "+ ") else ""
        who, text = line.removeprefix("? ").removeprefix("& ").removeprefix("+ ").split(" | ", 1)
        *connector, subject, tense = who.split()
        choices = tuple(read_frame(part) for part in text.split(" // "))
        steps.append(Step(subject, tense, choices, optional, "".join(connector)))
    close()
    return {domain: tuple(members) for domain, members in found.items()}
