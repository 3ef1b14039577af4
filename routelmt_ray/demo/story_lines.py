"""Reads the outlines of stories from `stories.txt`."""

from dataclasses import dataclass
from functools import cache

from routelmt_ray.demo.links import read_frame
from routelmt_ray.demo.thought import Frame
from routelmt_ray.demo.vocabulary import sections


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
    for head, members in sections("stories.txt"):
        domain, second = head.split()
        story = Story(domain, second.removeprefix("B="), tuple(_step(line) for line in members))
        found.setdefault(domain, []).append(story)
    return {domain: tuple(stories) for domain, stories in found.items()}


def _step(line: str) -> Step:
    optional = line[:2].strip() if line[:2] in ("? ", "& ", "+ ") else ""
    who, text = line.removeprefix("? ").removeprefix("& ").removeprefix("+ ").split(" | ", 1)
    *connector, subject, tense = who.split()
    return Step(subject, tense, tuple(read_frame(part) for part in text.split(" // ")), optional, "".join(connector))
