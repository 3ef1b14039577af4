"""Finds the written accent of a Spanish word."""

_PLAIN = str.maketrans("áéíóú", "aeiou")
_ACUTE = dict(zip("aeiou", "áéíóú"))


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
