"""Spanish conjugation of four persons: yo, él (and usted), nosotros, ellos."""

from functools import cache

from routelmt_ray.demo.spanish_forms import plain

_IE = frozenset(
    """
pensar empezar cerrar querer entender perder preferir sentir despertar sentar calentar recomendar nevar encender
fregar regar tener venir comenzar apretar divertir atender merendar mentir
""".split()
)
_UE = frozenset(
    """
poder encontrar volver dormir contar costar recordar llover probar mostrar jugar acostar doler almorzar resolver
devolver soñar colgar rodar morder soltar aprobar sonar mover morir renovar envolver
""".split()
)
_I = frozenset(
    """
pedir servir seguir vestir repetir elegir conseguir medir despedir freír reír decir corregir rendir
""".split()
)
_ACCENT = frozenset(("enviar", "esquiar", "confiar", "enfriar", "vaciar", "resfriar"))
_STRONG = {
    "tener": "tuv", "estar": "estuv", "poder": "pud", "poner": "pus", "saber": "sup", "hacer": "hic", "querer": "quis",
    "venir": "vin", "decir": "dij", "traer": "traj", "conducir": "conduj", "andar": "anduv", "haber": "hub",
    "traducir": "traduj", "mantener": "mantuv", "proponer": "propus", "detener": "detuv",
}  # fmt: skip
_FUTURE = {
    "tener": "tendr", "poner": "pondr", "salir": "saldr", "venir": "vendr", "poder": "podr", "querer": "querr",
    "saber": "sabr", "haber": "habr", "hacer": "har", "decir": "dir", "mantener": "mantendr", "proponer": "propondr",
    "detener": "detendr",
}  # fmt: skip
_FIRST = {
    "tener": "tengo", "poner": "pongo", "salir": "salgo", "venir": "vengo", "hacer": "hago", "decir": "digo",
    "traer": "traigo", "caer": "caigo", "oír": "oigo", "ver": "veo", "saber": "sé", "dar": "doy", "estar": "estoy",
    "ser": "soy", "ir": "voy", "haber": "he", "mantener": "mantengo", "proponer": "propongo", "detener": "detengo",
}  # fmt: skip
_PRESENT = {
    "ser": "soy es somos son", "ir": "voy va vamos van", "estar": "estoy está estamos están", "dar": "doy da damos dan",
    "haber": "he ha hemos han", "ver": "veo ve vemos ven", "oír": "oigo oye oímos oyen",
    "reunir": "reúno reúne reunimos reúnen", "reír": "río ríe reímos ríen", "freír": "frío fríe freímos fríen",
}  # fmt: skip
_PRETERITE = {
    "ser": "fui fue fuimos fueron", "ir": "fui fue fuimos fueron", "dar": "di dio dimos dieron",
    "ver": "vi vio vimos vieron", "hacer": "hice hizo hicimos hicieron", "reír": "reí rio reímos rieron",
    "freír": "freí frió freímos frieron",
}  # fmt: skip
_SUBJUNCTIVE = {
    "ser": "sea sea seamos sean", "ir": "vaya vaya vayamos vayan", "saber": "sepa sepa sepamos sepan",
    "estar": "esté esté estemos estén", "dar": "dé dé demos den", "haber": "haya haya hayamos hayan",
    "reír": "ría ría riamos rían", "freír": "fría fría friamos frían", "reunir": "reúna reúna reunamos reúnan",
}  # fmt: skip
_IMPERFECT = {"ser": "era era éramos eran", "ir": "iba iba íbamos iban", "ver": "veía veía veíamos veían"}
_PARTICIPLE = {
    "abrir": "abierto", "escribir": "escrito", "hacer": "hecho", "decir": "dicho", "ver": "visto", "poner": "puesto",
    "romper": "roto", "volver": "vuelto", "devolver": "devuelto", "resolver": "resuelto", "morir": "muerto",
    "cubrir": "cubierto", "freír": "frito", "oír": "oído", "reír": "reído", "descubrir": "descubierto",
    "proponer": "propuesto", "envolver": "envuelto", "ir": "ido", "imprimir": "impreso",
}  # fmt: skip


@cache
def conjugate(verb: str, tense: str) -> tuple[str, str, str, str]:
    """Forms the four persons of a tense from an infinitive without -se. Tenses are `present`, `preterite`, `imperfect`,
    `future`, `subjunctive` and `past_subjunctive`."""
    forms = {
        "present": _present,
        "preterite": _preterite,
        "imperfect": _imperfect,
        "future": _future,
        "subjunctive": _subjunctive,
        "past_subjunctive": _past_subjunctive,
    }[tense](verb)
    return forms[0], forms[1], forms[2], forms[3]


def _changed(verb: str, stem: str) -> str:
    """Changes the last vowel of a stressed stem."""
    if verb in _ACCENT:
        return stem[:-1] + "í"
    for verbs, old, new in ((_IE, "e", "ie"), (_UE, "o", "ue"), (_I, "e", "i")):
        if verb in verbs:
            at = stem.rfind("u" if verb == "jugar" else old)
            return stem[:at] + new + stem[at + 1 :]
    if verb.endswith("uir") and not verb.endswith("guir"):
        return stem + "y"
    return stem


def _weak(verb: str, stem: str) -> str:
    """Changes the last vowel of an -ir verb before a stressed ending with i or a: pidió, durmamos."""
    if verb.endswith("ir") and verb in _IE | _I:
        at = stem.rfind("e")
        return stem[:at] + "i" + stem[at + 1 :]
    if verb.endswith("ir") and verb in _UE:
        at = stem.rfind("o")
        return stem[:at] + "u" + stem[at + 1 :]
    return stem


def _spelled(verb: str, stem: str, ending: str) -> str:
    """Joins stem and ending so that the consonant keeps its sound."""
    front = ending[0] in "eéií"
    if verb.endswith("ar") and front:
        for old, new in (("c", "qu"), ("g", "gu"), ("z", "c")):
            if stem.endswith(old):
                return stem[: -len(old)] + new + ending
    if not verb.endswith("ar") and not front:
        if stem.endswith("gu"):
            return stem[:-1] + ending
        if stem.endswith("g"):
            return stem[:-1] + "j" + ending
        if stem.endswith("c"):
            return stem[:-1] + ("zc" if stem[-2] in "aeiou" and verb != "hacer" else "z") + ending
    return stem + ending


def _present(verb: str) -> list[str]:
    if verb in _PRESENT:
        return _PRESENT[verb].split()
    stem, kind = verb[:-2], plain(verb)[-2]
    third, plural, they = {"a": ("a", "amos", "an"), "e": ("e", "emos", "en"), "i": ("e", "imos", "en")}[kind]
    strong = _changed(verb, stem)
    first = _FIRST.get(verb) or _spelled(verb, strong, "o")
    return [first, _spelled(verb, strong, third), stem + plural, _spelled(verb, strong, they)]


def _preterite(verb: str) -> list[str]:
    if verb in _PRETERITE:
        return _PRETERITE[verb].split()
    if verb in _STRONG:
        stem = _STRONG[verb]
        return [stem + "e", stem + "o", stem + "imos", stem + ("eron" if stem.endswith("j") else "ieron")]
    stem = verb[:-2]
    if verb.endswith("ar"):
        return [_spelled(verb, stem, "é"), stem + "ó", stem + "amos", stem + "aron"]
    if stem[-1] in "aeo" or (verb.endswith("uir") and not verb.endswith("guir")):  # leer, caer, oír, construir
        accent = "í" if stem[-1] in "aeo" else "i"
        return [stem + "í", stem + "yó", stem + accent + "mos", stem + "yeron"]
    weak = _weak(verb, stem)
    return [stem + "í", weak + "ió", stem + "imos", weak + "ieron"]


def _imperfect(verb: str) -> list[str]:
    if verb in _IMPERFECT:
        return _IMPERFECT[verb].split()
    stem = verb[:-2]
    if verb.endswith("ar"):
        return [stem + "aba", stem + "aba", stem + "ábamos", stem + "aban"]
    return [stem + "ía", stem + "ía", stem + "íamos", stem + "ían"]


def _future(verb: str) -> list[str]:
    stem = _FUTURE.get(verb, plain(verb) if verb in ("oír", "reír", "freír") else verb)
    return [stem + "é", stem + "á", stem + "emos", stem + "án"]


def _subjunctive(verb: str) -> list[str]:
    if verb in _SUBJUNCTIVE:
        return _SUBJUNCTIVE[verb].split()
    stem, first = verb[:-2], conjugate(verb, "present")[0]
    if verb.endswith("ar"):
        strong = _changed(verb, stem)
        forms = [_spelled(verb, strong, "e")] * 2
        return [*forms, _spelled(verb, stem, "emos"), _spelled(verb, strong, "en")]
    base = first[:-1]
    if verb in _FIRST or not (verb in _IE or verb in _UE or verb in _I):
        we = base + "amos"
    else:
        we = _spelled(verb, _weak(verb, stem), "amos")
    return [base + "a", base + "a", we, base + "an"]


def _past_subjunctive(verb: str) -> list[str]:
    stem = conjugate(verb, "preterite")[3][:-3]
    accented = stem[:-1] + {"a": "á", "e": "é"}[stem[-1]]
    return [stem + "ra", stem + "ra", accented + "ramos", stem + "ran"]


@cache
def participle(verb: str) -> str:
    """Forms the masculine past participle."""
    if verb in _PARTICIPLE:
        return _PARTICIPLE[verb]
    stem = verb[:-2]
    if verb.endswith("ar"):
        return stem + "ado"
    return stem + ("ído" if stem[-1] in "aeo" else "ido")


@cache
def gerund(verb: str) -> str:
    """Forms the gerund."""
    stem = verb[:-2]
    if verb == "ir":
        return "yendo"
    if verb in ("reír", "freír"):
        return stem[:-1] + "iendo"
    if verb.endswith("ar"):
        return stem + "ando"
    if stem[-1] in "aeo" or (verb.endswith("uir") and not verb.endswith("guir")):
        return stem + "yendo"
    return ("pud" if verb == "poder" else _weak(verb, stem)) + "iendo"
