"""German verbs, articles, adjectives, nouns and numbers of the demo grammar."""

import pytest

from routelmt_ray.demo import german_forms
from routelmt_ray.demo.german_verbs import verb


@pytest.mark.parametrize(
    ("entry", "ich", "er", "past", "participle", "aux"),
    [
        ("kaufen", "kaufe", "kauft", "kaufte", "gekauft", "haben"),
        ("arbeiten", "arbeite", "arbeitet", "arbeitete", "gearbeitet", "haben"),
        ("öffnen", "öffne", "öffnet", "öffnete", "geöffnet", "haben"),
        ("bügeln", "bügle", "bügelt", "bügelte", "gebügelt", "haben"),
        ("spielen", "spiele", "spielt", "spielte", "gespielt", "haben"),
        ("wandern", "wandere", "wandert", "wanderte", "gewandert", "sein"),
        ("reparieren", "repariere", "repariert", "reparierte", "repariert", "haben"),
        ("besuchen", "besuche", "besucht", "besuchte", "besucht", "haben"),
        ("verstehen", "verstehe", "versteht", "verstand", "verstanden", "haben"),
        ("bekommen", "bekomme", "bekommt", "bekam", "bekommen", "haben"),
        ("durchsuchen", "durchsuche", "durchsucht", "durchsuchte", "durchsucht", "haben"),
        ("auf|stehen", "stehe", "steht", "stand", "aufgestanden", "sein"),
        ("vor|bereiten", "bereite", "bereitet", "bereitete", "vorbereitet", "haben"),
        ("zu|bereiten", "bereite", "bereitet", "bereitete", "zubereitet", "haben"),
        ("auf|hängen", "hänge", "hängt", "hängte", "aufgehängt", "haben"),
        ("spazieren|gehen", "gehe", "geht", "ging", "spazieren gegangen", "sein"),
        ("ziehen_s", "ziehe", "zieht", "zog", "gezogen", "sein"),
        ("an|ziehen", "ziehe", "zieht", "zog", "angezogen", "haben"),
    ],
)
def test_verbs(entry, ich, er, past, participle, aux):
    v = verb(entry)
    assert (v.present[0], v.present[1], v.past[1], v.participle, v.aux) == (ich, er, past, participle, aux)


def test_infinitives_with_zu():
    assert [verb(entry).zu for entry in ("kaufen", "auf|stehen", "spazieren|gehen")] == [
        "zu kaufen",
        "aufzustehen",
        "spazieren zu gehen",
    ]


@pytest.mark.parametrize(
    ("word", "declension", "gender", "case", "expected"),
    [
        ("alt", "weak", "m", "n", "alte"),
        ("alt", "weak", "m", "a", "alten"),
        ("alt", "mixed", "m", "n", "alter"),
        ("alt", "mixed", "n", "a", "altes"),
        ("alt", "strong", "f", "d", "alter"),
        ("alt", "strong", "p", "n", "alte"),
        ("alt", "weak", "p", "n", "alten"),
        ("teuer", "mixed", "m", "n", "teurer"),
        ("hoch", "weak", "p", "d", "hohen"),
        ("müde", "mixed", "f", "n", "müde"),
    ],
)
def test_adjectives(word, declension, gender, case, expected):
    assert german_forms.adjective(word, declension, gender, case) == expected


@pytest.mark.parametrize(
    ("word", "gender", "case", "expected"),
    [
        ("Kinder", "p", "d", "Kindern"),
        ("Autos", "p", "d", "Autos"),
        ("Freundinnen", "p", "d", "Freundinnen"),
        ("Bruder", "m", "g", "Bruders"),
        ("Gast", "m", "g", "Gastes"),
        ("Schwester", "f", "g", "Schwester"),
    ],
)
def test_nouns(word, gender, case, expected):
    assert german_forms.noun(word, gender, case) == expected


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, "eins"), (21, "einundzwanzig"), (100, "einhundert"), (101, "einhunderteins"), (2645, "zweitausendsechshundertfünfundvierzig")],
)  # fmt: skip
def test_numbers(n, expected):
    assert german_forms.number(n) == expected


def test_contractions():
    assert german_forms.contracted("In dem Haus geht er zu der Tür und an das Fenster") == (
        "Im Haus geht er zur Tür und ans Fenster"
    )
