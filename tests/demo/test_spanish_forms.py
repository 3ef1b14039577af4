"""Spanish verbs, nouns, adjectives, accents and numbers of the demo grammar."""

import pytest

from routelmt_ray.demo import spanish_forms, spanish_verbs
from routelmt_ray.demo.spanish import finish
from routelmt_ray.demo.spanish_forms import attach


@pytest.mark.parametrize(
    ("verb", "tense", "expected"),
    [
        ("comprar", "present", "compro compra compramos compran"),
        ("cerrar", "present", "cierro cierra cerramos cierran"),
        ("jugar", "present", "juego juega jugamos juegan"),
        ("pedir", "present", "pido pide pedimos piden"),
        ("seguir", "present", "sigo sigue seguimos siguen"),
        ("coger", "present", "cojo coge cogemos cogen"),
        ("conocer", "present", "conozco conoce conocemos conocen"),
        ("construir", "present", "construyo construye construimos construyen"),
        ("enviar", "present", "envío envía enviamos envían"),
        ("corregir", "present", "corrijo corrige corregimos corrigen"),
        ("buscar", "preterite", "busqué buscó buscamos buscaron"),
        ("pagar", "preterite", "pagué pagó pagamos pagaron"),
        ("empezar", "preterite", "empecé empezó empezamos empezaron"),
        ("dormir", "preterite", "dormí durmió dormimos durmieron"),
        ("leer", "preterite", "leí leyó leímos leyeron"),
        ("traducir", "preterite", "traduje tradujo tradujimos tradujeron"),
        ("hacer", "preterite", "hice hizo hicimos hicieron"),
        ("dar", "preterite", "di dio dimos dieron"),
        ("ir", "preterite", "fui fue fuimos fueron"),
        ("ir", "imperfect", "iba iba íbamos iban"),
        ("tener", "imperfect", "tenía tenía teníamos tenían"),
        ("salir", "future", "saldré saldrá saldremos saldrán"),
        ("decir", "future", "diré dirá diremos dirán"),
        ("sentir", "subjunctive", "sienta sienta sintamos sientan"),
        ("volver", "subjunctive", "vuelva vuelva volvamos vuelvan"),
        ("llegar", "subjunctive", "llegue llegue lleguemos lleguen"),
        ("traer", "past_subjunctive", "trajera trajera trajéramos trajeran"),
        ("pedir", "past_subjunctive", "pidiera pidiera pidiéramos pidieran"),
    ],
)
def test_verbs(verb, tense, expected):
    assert " ".join(spanish_verbs.conjugate(verb, tense)) == expected


@pytest.mark.parametrize(
    ("verb", "participle", "gerund"),
    [
        ("abrir", "abierto", "abriendo"),
        ("leer", "leído", "leyendo"),
        ("pedir", "pedido", "pidiendo"),
        ("ir", "ido", "yendo"),
        ("envolver", "envuelto", "envolviendo"),
        ("construir", "construido", "construyendo"),
    ],
)
def test_participles(verb, participle, gerund):
    assert (spanish_verbs.participle(verb), spanish_verbs.gerund(verb)) == (participle, gerund)


@pytest.mark.parametrize(
    ("verb", "clitics", "expected"),
    [
        ("compre", ["lo"], "cómprelo"),
        ("pague", ["la"], "páguela"),
        ("limpie", ["los"], "límpielos"),
        ("traiga", ["me"], "tráigame"),
        ("siente", ["se"], "siéntese"),
        ("dé", ["le"], "dele"),
        ("dé", [], "dé"),
        ("envíe", ["le"], "envíele"),
        ("ponga", ["se", "lo"], "póngaselo"),
        ("comprar", ["lo"], "comprarlo"),
        ("comprar", ["se", "lo"], "comprárselo"),
        ("ver", ["te", "lo"], "vértelo"),
    ],
)
def test_accents_of_verbs_with_pronouns(verb, clitics, expected):
    assert attach(verb, clitics) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("luz", "luces"),
        ("reunión", "reuniones"),
        ("joven", "jóvenes"),
        ("paraguas", "paraguas"),
        ("gris", "grises"),
        ("sofá", "sofás"),
        ("ordenador", "ordenadores"),
        ("saco de dormir", "sacos de dormir"),
        ("calcetín", "calcetines"),
    ],
)
def test_plurals(word, expected):
    assert spanish_forms.plural(word) == expected


def test_adjectives():
    assert spanish_forms.agree("trabajador", "f", True) == "trabajadoras"
    assert spanish_forms.agree("marrón", "f", True) == "marrones"
    assert spanish_forms.agree("lleno de gente", "f", True) == "llenas de gente"
    assert spanish_forms.shortened("bueno", "m", False) == "buen"
    assert spanish_forms.shortened("bueno", "f", False) == "buena"
    assert spanish_forms.shortened("grande", "f", False) == "gran"


@pytest.mark.parametrize(
    ("n", "gender", "expected"),
    [
        (21, "m", "veintiún"),
        (21, "f", "veintiuna"),
        (31, "m", "treinta y un"),
        (100, "m", "cien"),
        (101, "m", "ciento un"),
        (550, "f", "quinientas cincuenta"),
        (1000, "m", "mil"),
        (2645, "m", "dos mil seiscientos cuarenta y cinco"),
    ],
)
def test_numbers_before_nouns(n, gender, expected):
    assert spanish_forms.number(n, gender, before_noun=True) == expected


def test_contractions_and_the_words_for_and():
    assert finish("fue a el mercado de el pueblo con él") == "fue al mercado del pueblo con él"
    assert finish("padre y hijo y iglesia y hielo") == "padre e hijo e iglesia y hielo"
