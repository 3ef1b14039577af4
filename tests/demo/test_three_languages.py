"""Whole sentences of the English-Spanish-German grammar, each written by hand."""

import pytest

from routelmt_ray.demo import english_text, german, spanish
from routelmt_ray.demo.frames import frame
from routelmt_ray.demo.links import again
from routelmt_ray.demo.thought import Clause, Phrase, Sentence, Words
from routelmt_ray.demo.vocabulary import load_vocabulary

NOUNS = {noun.en: noun for pool in load_vocabulary().nouns.values() for noun in reversed(pool.members)}
YESTERDAY = Words("yesterday", "ayer", "gestern")
TODAY = Words("today", "hoy", "heute", near=True)


def one(text: str, **more) -> Phrase:
    """Reads `the coat`, `my brother`, `Anna`, `it:coat` or a pronoun."""
    if text in ("I", "we", "you", "he", "she", "they"):
        return Phrase(pronoun=text, **more)
    if text.startswith(("it:", "they:")):
        pronoun, _, noun = text.partition(":")
        return Phrase(NOUNS[noun], pronoun=pronoun, plural=pronoun == "they", **more)
    det, _, noun = text.partition(" ")
    if not noun:
        return Phrase(NOUNS[det], "name", **more)
    return Phrase(NOUNS[noun], det, of="I" if det == "my" else "", **more)


def said(line, subject, tense, slots, **more) -> Clause:
    return Clause(one(subject) if subject else None, frame(line), tense, slots, **more)


BUY = "buy {o} = comprar {o} = kaufen {o}"
GIVE = "give {o} to {r} = regalar {o} {r} = schenken {o} {r.d}"
TABLE = [
    (said(BUY, "Anna", "past", {"o": one("the coat")}), "Anna bought the coat.", "Anna compró el abrigo.",
     "Anna hat den Mantel gekauft."),
    (said(BUY, "Anna", "past", {"o": one("the coat")}, time=YESTERDAY, time_first=True), "Yesterday, Anna bought the coat.",
     "Ayer Anna compró el abrigo.", "Gestern hat Anna den Mantel gekauft."),
    (said(BUY, "Anna", "past", {"o": one("the coat")}, time=TODAY), "Anna bought the coat today.",
     "Anna ha comprado el abrigo hoy.", "Anna hat heute den Mantel gekauft."),
    (said(BUY, "I", "past", {"o": one("the coat")}, negated=True), "I did not buy the coat.", "No compré el abrigo.",
     "Ich habe den Mantel nicht gekauft."),
    (said(BUY, "we", "past", {"o": one("any bread")}, negated=True), "We did not buy any bread.", "No compramos pan.",
     "Wir haben kein Brot gekauft."),
    (said(BUY, "she", "want", {"o": one("it:coat")}), "She wants to buy it.", "Ella quiere comprarlo.", "Sie will ihn kaufen."),
    (said(GIVE, "Anna", "past", {"o": one("it:bag"), "r": one("my brother")}), "Anna gave it to my brother.",
     "Anna se lo regaló a mi hermano.", "Anna hat sie meinem Bruder geschenkt."),
    (said("wait for {o} = esperar {o} = warten ^ auf {o}", "I", "fut", {"o": one("my sister")}, negated=True),
     "I will not wait for my sister.", "No esperaré a mi hermana.", "Ich werde nicht auf meine Schwester warten."),
    (said("get up = levantarse = auf|stehen", "we", "had_to", {}), "We had to get up.", "Tuvimos que levantarnos.",
     "Wir mussten aufstehen."),
    (said("brush {my} teeth = cepillarse los dientes = sich3 putzen die Zähne ^", "I", "past", {}, negated=True),
     "I did not brush my teeth.", "No me cepillé los dientes.", "Ich habe mir die Zähne nicht geputzt."),
    (said("like {o} very much = gustar! mucho {o} = mögen {o} ^ sehr", "Anna", "pres", {"o": one("the soup")}),
     "Anna likes the soup very much.", "A Anna le gusta mucho la sopa.", "Anna mag die Suppe sehr."),
    (said("be tired = estar @cansado = ^ müde sein", "my sister", "state", {}), "My sister was tired.",
     "Mi hermana estaba cansada.", "Meine Schwester war müde."),
    (said("have a temperature = tener fiebre = haben %n:Fieber", "he", "pres", {}, negated=True),
     "He does not have a temperature.", "Él no tiene fiebre.", "Er hat kein Fieber."),
    (said("rain = llover = regnen", "", "pprog", {}), "It was raining.", "Estaba lloviendo.", "Es regnete."),
    (said("help {o} in the kitchen = ayudar {o} en la cocina = helfen {o.d} ^ in der Küche", "you", "should",
          {"o": one("my mother")}), "You should help my mother in the kitchen.",
     "Usted debería ayudar a mi madre en la cocina.", "Sie sollten meiner Mutter in der Küche helfen."),
]  # fmt: skip


@pytest.mark.parametrize(("clause", "en", "es", "de"), TABLE, ids=[row[1] for row in TABLE])
def test_statements(clause, en, es, de):
    sentence = Sentence("tell", clause)
    assert (english_text.say(sentence), spanish.say(sentence), german.say(sentence)) == (en, es, de)


ANNA_BUYS = said(BUY, "Anna", "past", {"o": one("the coat")})
SHE = again(one("Anna"))
LINKED = [
    ("because", Clause(again(one("the coat")), frame("be cheap = ser @barato = ^ billig sein"), "state"),
     "Anna bought the coat because it was cheap.", "Anna compró el abrigo porque era barato.",
     "Anna hat den Mantel gekauft, weil er billig war."),
    ("before", said("come home = volver a casa = ^ nach Hause kommen", "my parents", "past_subj", {}),
     "Anna bought the coat before my parents came home.", "Anna compró el abrigo antes de que mis padres volvieran a casa.",
     "Anna hat den Mantel gekauft, bevor meine Eltern nach Hause kamen."),
    ("after_same", Clause(SHE, frame("have breakfast = desayunar = frühstücken"), "pperf"),
     "Anna bought the coat after having breakfast.", "Anna compró el abrigo después de desayunar.",
     "Anna hat den Mantel gekauft, nachdem sie gefrühstückt hatte."),
    ("and_same", Clause(SHE, frame("pay in cash = pagar en efectivo = ^ bar zahlen"), "past"),
     "Anna bought the coat and paid in cash.", "Anna compró el abrigo y pagó en efectivo.",
     "Anna hat den Mantel gekauft und bar gezahlt."),
    ("so", Clause(SHE, frame("have no money = tener poco dinero = ^ wenig Geld haben"), "state"),
     "Anna bought the coat, so she had no money.", "Anna compró el abrigo, así que tenía poco dinero.",
     "Anna hat den Mantel gekauft, deshalb hatte sie wenig Geld."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "clause", "en", "es", "de"), LINKED, ids=[row[0] for row in LINKED])
def test_second_clauses(name, clause, en, es, de):
    sentence = Sentence("tell", ANNA_BUYS, ((name, clause),))
    assert (english_text.say(sentence), spanish.say(sentence), german.say(sentence)) == (en, es, de)


KINDS = [
    ("ask", said(BUY, "Anna", "past", {"o": one("the coat")}), "Did Anna buy the coat?", "¿Compró Anna el abrigo?",
     "Hat Anna den Mantel gekauft?"),
    ("what", said(BUY, "Anna", "past", {"o": one("the coat")}, gap="o"), "What did Anna buy?", "¿Qué compró Anna?",
     "Was hat Anna gekauft?"),
    ("who", said(BUY, "Anna", "past", {"o": one("the coat")}), "Who bought the coat?", "¿Quién compró el abrigo?",
     "Wer hat den Mantel gekauft?"),
    ("when", said("sleep badly = dormir mal = ^ schlecht schlafen", "Anna", "past", {}), "When did Anna sleep badly?",
     "¿Cuándo durmió mal Anna?", "Wann hat Anna schlecht geschlafen?"),
    ("please", said("turn _off {o} = apagar {o} = aus|schalten {o}", "you", "pres", {"o": one("the light")}),
     "Please turn off the light.", "Apague la luz, por favor.", "Bitte schalten Sie das Licht aus."),
    ("please", said("turn _off {o} = apagar {o} = aus|schalten {o}", "you", "pres", {"o": one("it:light")}),
     "Please turn it off.", "Apáguela, por favor.", "Bitte schalten Sie es aus."),
    ("please", said("turn _off {o} = apagar {o} = aus|schalten {o}", "you", "pres", {"o": one("it:light")}, negated=True),
     "Please do not turn it off.", "No la apague, por favor.", "Bitte schalten Sie es nicht aus."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "clause", "en", "es", "de"), KINDS, ids=[row[2] for row in KINDS])
def test_questions_and_requests(kind, clause, en, es, de):
    sentence = Sentence(kind, clause)
    assert (english_text.say(sentence), spanish.say(sentence), german.say(sentence)) == (en, es, de)


def test_a_german_relative_clause_follows_its_main_clause():
    wrote = said("write {o} = escribir {o} = schreiben {o}", "David", "past", {}, gap="o")
    book = Phrase(NOUNS["letter"], "the", relative=wrote)
    sentence = Sentence("tell", said("read {o} = leer {o} = lesen {o}", "Anna", "past", {"o": book}, negated=True))
    assert english_text.say(sentence) == "Anna did not read the letter that David wrote."
    assert spanish.say(sentence) == "Anna no leyó la carta que David escribió."
    assert german.say(sentence) == "Anna hat den Brief nicht gelesen, den David geschrieben hat."


def test_places_follow_the_noun():
    live = said("go {g} = ir {g} = gehen {g}", "Anna", "past", {"g": one("the market")})
    assert german.say(Sentence("tell", live)) == "Anna ist auf den Markt gegangen."
    home = said("go {g} = ir {g} = gehen {g}", "Anna", "past", {"g": Phrase(NOUNS["home"], "name")})
    assert english_text.say(Sentence("tell", home)) == "Anna went home."
    assert spanish.say(Sentence("tell", home)) == "Anna fue a casa."
    assert german.say(Sentence("tell", home)) == "Anna ist nach Hause gegangen."


def test_a_pair_with_one_man_is_masculine_in_spanish():
    pair = Phrase(NOUNS["Laura"], "name", also=one("Paul"))
    ill = Clause(again(pair), frame("be ill = estar @enfermo = ^ krank sein"), "state")
    main = Clause(pair, frame("sleep = dormir = schlafen"), "past")
    text = spanish.say(Sentence("tell", main, (("because", ill),)))
    assert text == "Laura y Paul durmieron porque estaban enfermos."


def test_spanish_keeps_one_tense_after_today():
    main = said(BUY, "Anna", "past", {"o": one("the coat")}, time=TODAY)
    gift = Clause(again(one("Anna")), frame(GIVE), "past", {"o": one("it:coat"), "r": one("my brother")})
    text = spanish.say(Sentence("tell", main, (("and_same", gift),)))
    assert text == "Anna ha comprado el abrigo hoy y se lo ha regalado a mi hermano."


def test_spanish_says_yo_beside_mientras():
    main = said("sleep = dormir = schlafen", "Anna", "past", {})
    other = said("read = leer = lesen", "I", "meanwhile", {})
    text = spanish.say(Sentence("tell", main, (("while", other),)))
    assert text == "Anna durmió mientras yo leía."


def test_trousers_are_one_thing_in_spanish_and_german():
    trousers = Phrase(NOUNS["trousers"], "the")
    main = said(BUY, "Anna", "pres", {"o": trousers})
    dear = Clause(again(trousers), frame("be expensive = ser @caro = ^ teuer sein"), "pres")
    sentence = Sentence("tell", main, (("although", dear),))
    assert english_text.say(sentence) == "Anna buys the trousers, although they are expensive."
    assert spanish.say(sentence) == "Anna compra el pantalón, aunque es caro."
    assert german.say(sentence) == "Anna kauft die Hose, obwohl sie teuer ist."


def test_a_spanish_question_keeps_mucho_with_its_noun():
    main = said("spend a lot of money = gastar mucho dinero = ^ viel Geld aus|geben", "Anna", "past", {})
    assert spanish.say(Sentence("ask", main)) == "¿Gastó Anna mucho dinero?"
    main = said("sleep badly = dormir mal = ^ schlecht schlafen", "Anna", "past", {})
    assert spanish.say(Sentence("ask", main)) == "¿Durmió mal Anna?"
