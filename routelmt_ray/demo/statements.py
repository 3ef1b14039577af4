"""Draws statements about things: qualities, comparisons, prices, time tables, dates."""

from dataclasses import replace

from routelmt_ray.demo import times
from routelmt_ray.demo.frames import frame, words_for
from routelmt_ray.demo.phrases import PhraseDrawer
from routelmt_ray.demo.thought import Clause, Phrase, Words

_THINGS = {
    "home": "dish cake furniture building appliance family pet vessel", "travel": "sight ride bookable transport vehicle",
    "office": "doc abstract boss device presentation", "school": "exam exercise reading teacher pupil",
    "nature": "plant scenery pet wild", "shopping": "clothes shoes goods opening furniture",
    "health": "medicine family doctor", "city": "citything building company show opening",
}  # fmt: skip
_MEASURED = tuple("dish clothes shoes furniture building part doc exam exercise ride citything".split())
"""Classes of things that can be too long, too big or too expensive."""
WHOLE_KINDS = {"flower", "tree", "plant", "bird", "room", "house"}
"""Words for a whole kind, which a member of it is not compared with."""
_DEGREES = {"": Words("", "", ""), "very": Words("very", "muy", "sehr"), "too": Words("too", "demasiado", "zu"),
            "quite": Words("quite", "bastante", "ziemlich")}  # fmt: skip


def state(drawer: PhraseDrawer, domain: str, short: bool) -> Clause:
    """Draws *the soup is very good* or a comparison."""
    rng = drawer.rng
    pool = drawer.words.predicates
    kinds = [kind for kind in _THINGS[domain].split() if kind in pool]
    kind = rng.choice(kinds)
    adjective = pool[kind].pick(rng)
    noun = drawer.words.noun(kind, rng)
    if adjective.en in noun.en:  # *the old town is old*
        noun = drawer.words.nouns[kind].members[0]
    who = drawer.around(noun, noun.kind, _subject_dets(noun.kind), None, adjective=0.0, human_plural=True)
    be = "estar" if adjective.estar else "ser"
    if adjective.more_de and rng.random() < 0.25 and noun.kind not in ("family", "subject", "company"):
        other = drawer.around(drawer.words.noun(kind, rng), noun.kind, ("the",), None, adjective=0.0)
        part = other.noun is not None and (other.noun.en in noun.en or noun.en in other.noun.en)
        if not part and not {noun.en, getattr(other.noun, "en", "")} & WHOLE_KINDS:
            more = {"viejo": "más viejo", "bueno": "mejor", "malo": "peor"}.get(adjective.es, "más " + adjective.es)
            es = f"{be} {more.rpartition(' ')[0]} @{more.rpartition(' ')[2]} que {{d}}".replace("  ", " ")
            en = f"be {adjective.more_en or 'more ' + adjective.en} than {{d}}"
            f = replace(frame(f"{en} = {es} = ^ {adjective.more_de} als {{d.n}} sein"), flags=frozenset(("st",)))
            other = replace(other, plural=noun.kind == "shoes")
            return Clause(
                replace(who, plural=noun.kind == "shoes"),
                f,
                rng.choice(("pres", "pres", "state")),
                {"d": other},
                short=short,
            )
    degrees = ("", "very", "quite") if adjective.more_de else ("",)
    if adjective.en in words_for("excessive") and noun.kind in _MEASURED:
        degrees = (*degrees, "too")
    degree = _DEGREES[rng.choice(degrees)]
    f = frame(
        f"be {degree.en} {adjective.en} = {be} {degree.es} @{adjective.es.split()[0]} = ^ {degree.de} {adjective.de} sein"
    )
    tense = rng.choice(("pres", "pres", "state", "state"))
    if tense == "state" and noun.kind in ("show", "exam", "exercise", "ride", "appointment", "event", "bookable"):
        tense = "past"
    negated = not degree.en and rng.random() < 0.2
    return Clause(who, f, tense, negated=negated, short=short)


def _subject_dets(kind: str) -> tuple[str, ...]:
    if kind in ("clothes", "shoes", "goods", "furniture", "pet", "vehicle", "device"):
        return ("the", "the", "this", "my")
    return ("my",) if kind == "family" else ("the", "the", "this")


def fact(drawer: PhraseDrawer, domain: str, short: bool) -> Clause:
    """Draws a price, a time table, a date or a statistic."""
    rng, draw = drawer.rng, drawer
    kind = rng.choice({"travel": ("leave", "leave", "cost"), "city": ("rise", "open"), "nature": ("open", "grow"),
                       "school": ("begin", "date"), "office": ("begin", "date"),
                       "shopping": ("cost",), "home": ("cost",), "health": ("open",)}[domain])  # fmt: skip
    if kind == "cost":
        classes = {"travel": ("bookable",), "home": ("furniture", "appliance")}.get(
            domain, ("clothes", "goods", "shoes")
        )
        p = times.price(rng, big=domain != "shopping")
        f = frame(f"cost {p.en} = costar {p.es} = ^ {p.de} kosten")
        who = draw.slot(classes, None, negated=False, dets=("the", "this"))
        return Clause(replace(who, relative=None), f, rng.choice(("pres", "past", "pres")), short=short)
    if kind == "leave":
        at = times.clock(rng)
        f = frame(f"leave {at.en} = salir {at.es} = ^ {at.de} ab|fahren")
        noun = draw.words.noun(rng.choice(("train1x", "bus1x")), rng)
        return Clause(Phrase(noun, "the"), f, rng.choice(("pres", "pres", "past", "fut")), short=short)
    if kind == "rise":
        p = times.percent(rng)
        word = rng.choice((("rise", "subir", "steigen"), ("fall", "bajar", "sinken")))
        f = frame(f"{word[0]} by {p.en} = {word[1]} {p.es} = ^ um {p.de} {word[2]}")
        noun = draw.words.noun("statistic", rng)
        return Clause(Phrase(noun, "the", True), f, "past", time=times.since(rng), short=short)
    if kind == "open":
        opens = rng.random() < 0.5
        at = times.clock(rng, (7, 10) if opens else (5, 9))
        word = ("open", "abrir", "öffnen") if opens else ("close", "cerrar", "schließen")
        f = frame(f"{word[0]} {at.en} = {word[1]} {at.es} = ^ {at.de} {word[2]}")
        kindx = {"health": ("pharmacyx",), "nature": ("parkz",)}.get(domain, ("opening",))
        return Clause(draw.slot(kindx, None, negated=False, dets=("the", "this")), f, "pres", short=short)
    if kind == "begin":
        at = times.clock(rng)
        f = frame(f"start {at.en} = empezar {at.es} = ^ {at.de} beginnen")
        noun = draw.words.noun({"school": "schoolevent", "office": "officeevent"}[domain], rng)
        return Clause(Phrase(noun, "the"), f, rng.choice(("pres", "past", "fut")), short=short)
    if kind == "date":
        d = rng.choice((times.date, times.weekday))(rng)
        f = frame(f"be {d.en} = ser {d.es} = ^ {d.de} sein")
        noun = draw.words.noun({"school": "exam", "office": "appointment"}[domain], rng)
        return Clause(Phrase(noun, "the"), f, rng.choice(("pres", "past")), short=short)
    p = times.span("for", rng)
    f = frame(f"last {p.en} = durar {p.es.removeprefix('durante ')} = ^ {p.de.removesuffix(' lang')} dauern")
    return Clause(Phrase(draw.words.noun("storm1", rng), "the"), f, "past", short=short)
