"""Reads predicates (verbs with what they need) in three languages.

A line is `English = Spanish = German ; options`. The first English word is the verb. `{o:fruit|veg/the,a}` is a slot:
its letter, the classes of nouns that fill it, and their determiners. Letters with a meaning: `o` direct object, `r`
recipient (Spanish repeats it as *le*), `l` a place, `g` a goal; others are plain phrases.

- English: `_off` is a particle that a pronoun precedes, `{my}` and `{self}` follow the subject, `{o%}` has no article.
- Spanish: `@cansado` agrees with the subject, `gustar!` makes the subject an indirect object, `{o.p}` has no personal *a*.
- German: `auf|stehen` is separable, `_s` asks for *sein*, `^` marks where *nicht* stands, `{o.d}` is a dative, `%f:Zeit`
  gets *kein*. A line that starts with `^` ends with its verb.

Options: `T:` tenses, `L:` places, `M:` manners, `S:` and `V:` determiners of subject and object, `W` company, `dur`
duration, `st` state, `once` no habit, `n-` `p-` `t-` no negation, progressive, time; `#buy` names a topic.
"""

import re
from functools import cache

from routelmt_ray.demo.data import lines, sections
from routelmt_ray.demo.thought import Frame
from routelmt_ray.demo.vocabulary import Pool

_SLOT = re.compile(r"\{(\w)(%?):([^}]*)\}")


def german_tokens(template: str) -> tuple[str, ...]:
    """Orders a German template: reflexive pronoun, verb, complements."""
    tokens = template.split()
    if tokens[0] == "^":
        tokens = [tokens[-1], *tokens[:-1]]
    reflexive = [token for token in tokens if token in ("sich", "sich3")]
    return (*reflexive, *(token for token in tokens if token not in ("sich", "sich3")))


def frame(line: str, domain: str = "", subjects: tuple[str, ...] = ()) -> Frame:
    """Builds a predicate from its line. Raises ValueError if the line has not three languages."""
    templates, _, options = line.partition(" ; ")
    parts = templates.split(" = ")
    if len(parts) != 3:
        raise ValueError(f"frame: expected English = Spanish = German, got {line!r}")
    en, es, de = (part.strip() for part in parts)
    slots = {match[1]: tuple(match[3].split("|")) for match in _SLOT.finditer(en)}
    flags, values = set(), {}
    for option in options.split():
        name, colon, value = option.partition(":")
        if colon:
            values[name] = tuple(re.split(r"[|,]", value))
        else:
            flags.add(option)
    en = _SLOT.sub(lambda match: "{" + match[1] + match[2] + "}", en)
    return Frame(
        tuple(en.split()), tuple(es.split()), german_tokens(de), slots, frozenset(flags), values, domain, subjects, en
    )


@cache
def load_frames() -> dict[tuple[str, tuple[str, ...]], Pool[Frame]]:
    """Reads the predicates, by domain and classes of subjects."""
    found: dict[tuple[str, tuple[str, ...]], list[Frame]] = {}
    for head, members in sections("frames.txt"):
        domain, _, rest = head.partition(" ")
        subjects = tuple(rest.split("|"))
        made = [frame(line, domain, subjects) for line in members if not line.startswith("@")]
        if made:
            found.setdefault((domain, subjects), []).extend(made)
    return {key: Pool(members) for key, members in found.items()}


@cache
def words_for(use: str) -> frozenset[str]:
    """Finds the first words of predicates that suit a use: `asked`, `told`, `commands` or `excessive`."""
    found = (line.split() for line in lines("frames.txt") if line.startswith("@" + use))
    return frozenset(word for words in found for word in words[1:])


def own_dets(kinds: tuple[str, ...]) -> bool:
    """Tells whether a slot names its determiners."""
    return any("/" in kind for kind in kinds)


def whole_frame(f: Frame) -> bool:
    """Tells whether the predicate has a plain object in all three languages."""
    if not all("{o}" in template for template in (f.en, f.es, f.de)):
        return False
    before = f.de[f.de.index("{o}") - 1]
    return before.startswith("{") or before.rpartition("|")[2].endswith(("n", "n_s"))


def has_free_place(f: Frame) -> bool:
    """Tells whether one can ask *where*: the place is an addition, not a part of the predicate."""
    return "L" in f.options and not {"l", "g"} & set(f.slots)
