"""Spanish forms of nouns and adjectives, written accents, and numbers in words."""

from functools import cache

_PLAIN = str.maketrans("áéíóú", "aeiou")
_ACUTE = dict(zip("aeiou", "áéíóú"))
_IRREGULAR_PLURALS = {"joven": "jóvenes", "examen": "exámenes", "imagen": "imágenes", "orden": "órdenes"}
_ONES = """
cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete
dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete veintiocho
veintinueve
""".split()
_TENS = ["-", "-", "-", "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa"]
_HUNDREDS = """
- ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos
""".split()
_SHORT = {"bueno": "buen", "malo": "mal", "primero": "primer", "tercero": "tercer", "grande": "gran"}


@cache
def plural(word: str) -> str:
    """Forms the plural of a noun or adjective; of several words, the first one and its adjective change."""
    if " de " in word:
        head, _, rest = word.partition(" de ")
        return f"{plural(head)} de {rest}"
    if " " in word:
        return " ".join(plural(part) for part in word.split())
    if word in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[word]
    if word.endswith("z"):
        return word[:-1] + "ces"
    if word[-1] in "aeiouáéóú":
        return word + "s"
    if word.endswith(("ón", "án", "én", "ín", "ún", "és", "ás", "ís", "ús")):
        return plain(word) + "es"
    if word.endswith("s") and sum(letter in "aeiouáéíóú" for letter in word) == 1:
        return word + "es"  # gris, mes
    if word.endswith("s") or (word.endswith("x") and plain(word) == word):
        return word  # el paraguas, el lunes
    return word + "es"


@cache
def feminine(adjective: str) -> str:
    """Forms the feminine singular of an adjective."""
    if adjective.endswith("o"):
        return adjective[:-1] + "a"
    if adjective.endswith(("dor", "tor")):
        return adjective + "a"
    if adjective.endswith(("és", "ón", "án")) and adjective not in ("marrón", "cortés"):
        return plain(adjective) + "a"
    return adjective


def agree(adjective: str, gender: str, is_plural: bool) -> str:
    """Inflects an adjective, whose first word agrees (`lleno de gente`)."""
    head, space, rest = adjective.partition(" ")
    form = feminine(head) if gender == "f" else head
    return (plural(form) if is_plural else form) + space + rest


def shortened(adjective: str, gender: str, is_plural: bool) -> str:
    """Inflects an adjective that stands before its noun (`un buen vino`, `una gran ciudad`)."""
    if not is_plural and adjective in _SHORT and (gender == "m" or adjective == "grande"):
        return _SHORT[adjective]
    return agree(adjective, gender, is_plural)


def number(n: int, gender: str = "m", before_noun: bool = False) -> str:
    """Writes a number below a million in words, with the gender of the noun that is counted; *uno* loses its last
    letter before it."""
    if n < 30:
        word = _ONES[n]
    elif n < 100:
        word = _TENS[n // 10] + (f" y {_ONES[n % 10]}" if n % 10 else "")
    elif n == 100:
        return "cien"
    elif n < 1000:
        hundreds = _HUNDREDS[n // 100]
        if gender == "f" and n >= 200:
            hundreds = hundreds.replace("cientos", "cientas").replace("quinientos", "quinientas")
        return hundreds + (f" {number(n % 100, gender, before_noun)}" if n % 100 else "")
    else:
        thousands = "mil" if n < 2000 else number(n // 1000, gender, True) + " mil"
        return thousands + (f" {number(n % 1000, gender, before_noun)}" if n % 1000 else "")
    if word.endswith("uno"):
        if gender == "f":
            return word[:-1] + "a"
        if before_noun:
            return "veintiún" if word == "veintiuno" else word[:-1]
    return word


def plain(word: str) -> str:
    """Removes the accents of vowels."""
    return word.translate(_PLAIN)


def _nuclei(word: str) -> list[int]:
    """Finds the stressed-vowel position of every syllable."""
    found: list[int] = []
    i = 0
    while i < len(word):
        if word[i] not in "aeiouáéíóú" or (
            word[i] == "u" and i and word[i - 1] in "gq" and word[i + 1 : i + 2] in "eéií"
        ):
            i += 1
            continue
        end = i
        while end + 1 < len(word) and word[end + 1] in "aeiouáéíóú":
            pair = word[end] + word[end + 1]
            if not (pair[0] in "iu" or pair[1] in "iu"):
                break
            end += 1
        run = word[i : end + 1]
        strong = [k for k, letter in enumerate(run) if letter in "aeoáéó"]
        found.append(i + (strong[0] if strong else len(run) - 1))
        i = end + 1
    return found


def attach(verb: str, clitics: list[str]) -> str:
    """Writes pronouns at the end of an infinitive or a command, with the accent that the longer word needs."""
    tail = "".join(clitics)
    if not clitics:
        return verb
    if verb != plain(verb):
        monosyllable = verb in ("dé", "esté")
        return (plain(verb) if monosyllable else verb) + tail
    nuclei = _nuclei(verb)
    infinitive = verb[-1] == "r"
    stressed = nuclei[-1] if infinitive else nuclei[-2] if len(nuclei) > 1 else nuclei[-1]
    after = (0 if infinitive else 1 if len(nuclei) > 1 else 0) + len(clitics)
    if after < 2:
        return verb + tail
    return verb[:stressed] + _ACUTE[verb[stressed]] + verb[stressed + 1 :] + tail
