"""Each check by itself: what it measures, what it excuses, and where it gives no verdict."""

import itertools
import math
import time
from pkgutil import resolve_name

import pytest

from routelmt_ray.checks import copied, length, repetition
from routelmt_ray.checks.checker import Checker
from routelmt_ray.checks.close import are_alike, are_mixed_up
from routelmt_ray.checks.leak import leaks
from routelmt_ray.checks.plan import CheckedOutput, CheckPlan, Finding, LengthLimits
from routelmt_ray.checks.scripts import scripts_of
from routelmt_ray.checks.spans import badly_nested, find_spans
from routelmt_ray.config.checks import (
    CHECKS,
    PROTECTED,
    ChecksConfig,
    CopyCheck,
    LanguageCheck,
    LengthCheck,
    RepetitionCheck,
)

KINDS = tuple(PROTECTED)


def found(
    name: str, source: str, translation: str, to: str = "de", of: str = "en", plan: CheckPlan | None = None
) -> Finding | None:
    check = resolve_name(CHECKS[name].opens)(plan or CheckPlan(ChecksConfig(action="flag"), KINDS))
    finding: Finding | None = check(CheckedOutput(source, translation, of, to, f"{of}→{to}"))
    return finding


def verdict(name: str, source: str, translation: str, to: str = "de", of: str = "en") -> bool | None:
    finding = found(name, source, translation, to, of)
    return None if finding is None else finding.failed


@pytest.mark.parametrize(
    ("translation", "to", "failed"),
    [
        ("Das Buch liegt noch auf dem alten Tisch.", "de", False),
        ("The book is still lying on the old table.", "de", True),
        ("Книга всё ещё лежит на старом столе.", "de", True),
        ("Die Datei 東京 und 大阪.", "de", False),
        ("Book", "de", False),  # too short for the identifier, and of the right script
        ("Kitabu bado kipo juu ya meza ya zamani.", "sw", False),  # the identifier does not know Swahili
        ("Книга все ще лежить на старому столі.", "sw", True),
        ("本はまだ古い机の上にある。", "zh", True),
        ("那本书还在旧桌子上。", "zh-Hant", False),
        ("Knjiga je još uvijek na starom stolu u sobi.", "sr", False),  # Serbian is written in both scripts
        ("ëti rus 89 triën nï dërk mobomär.", "qaa", None),  # a language that nobody knows
    ],
)
def test_the_language_check_fails_other_languages(translation: str, to: str, failed: bool | None) -> None:
    assert verdict("language", "The book still lies on the old table.", translation, to) is failed


def test_words_of_the_source_are_of_no_script() -> None:
    source = "Install TensorFlow and PyTorch with Anaconda Navigator."
    assert verdict("language", source, "Anaconda Navigatorで TensorFlow と PyTorch を。", "ja") is False
    assert verdict("language", source, "Put TensorFlow onto it, and PyTorch too, を", "ja") is True


@pytest.mark.parametrize(
    ("translation", "failed"),
    [
        ("Hell", True),
        ("Hel", False),
        ("Да abcdefghij", True),
        ("Да abcdefghi", False),
        ("Абвгдежзий abcdefghij", False),
    ],
)
def test_few_letters_of_another_script_are_a_name(translation: str, failed: bool) -> None:
    assert verdict("language", "One.", translation, "ru") is failed


def test_an_unsure_identifier_blames_nobody() -> None:
    plan = CheckPlan(ChecksConfig(action="flag", language=LanguageCheck(min_probability=1.0)))
    finding = found("language", "x", "Das alte Haus gehört wohl meinem Onkel.", "fr", plan=plan)
    assert finding is not None and 0.7 < finding.measure < 1.0 and not finding.failed
    assert found("language", "Open Anaconda!", "Anaconda", "ru") == Finding(0.0, False), "only a name of the source"


def test_the_identifier_gets_texts_that_are_long_enough() -> None:
    german = "Das Haus ist alt und gelb."  # 20 letters
    for least, failed in ((20, True), (21, False)):
        plan = CheckPlan(ChecksConfig(action="flag", language=LanguageCheck(min_letters=least)))
        finding = found("language", "x", german, "fr", plan=plan)
        assert finding is not None and finding.failed is failed
    chinese = "那本书还在旧桌子上面。"  # 10 letters, which count double
    for least, failed in ((20, True), (22, False)):
        plan = CheckPlan(ChecksConfig(action="flag", language=LanguageCheck(min_letters=least)))
        finding = found("language", "x", chinese, "ja", plan=plan)
        assert finding is not None and finding.failed is failed


@pytest.mark.parametrize(("code", "scripts"), [
    ("ja", {"Hani", "Hira", "Kana"}), ("ko", {"Hang", "Hani"}), ("zh_TW", {"Hani"}), ("eng_Latn", {"Latn"}), ("sr-Latn", {"Latn"}),
    ("sr", {"Cyrl", "Latn"}), ("qaa", set()), ("nonsense", set()), ("", set()), ("en", {"Latn"}), ("ka", {"Geor"}),
])  # fmt: skip
def test_scripts_of_a_language(code: str, scripts: set[str]) -> None:
    assert set(scripts_of(code)) == scripts


def test_close_languages() -> None:
    assert are_alike("nb", "dan_Latn") and are_alike("en", "eng") and are_alike("id", "ms")
    assert not are_alike("es", "pt") and not are_alike("ru", "uk")
    assert are_mixed_up("cs", "sk") and are_mixed_up("az", "tr") and not are_mixed_up("az", "tt")


@pytest.mark.parametrize(
    ("source", "translation", "failed"),
    [
        ("The dog sleeps under the table all day.", "The dog sleeps under the table all day.", True),
        ("The dog sleeps under the table all day.", "the dog  sleeps under the table, all day", True),
        ("The dog sleeps under the table all day.", "Der Hund sleeps under the table all day.", True),
        ("The dog sleeps under the table all day.", "Der Hund schläft den ganzen Tag under the table.", False),
        ("Hello world!", "Hello world!", None),  # two words may be right
        ("Call Maria Lopez Garcia in San Juan.", "Call Maria Lopez Garcia in San Juan.", None),  # names
        ("12 345 678 90 11 12", "12 345 678 90 11 12", None),
        ("Angela Merkel met Emmanuel Macron.", "Angela Merkel traf Emmanuel Macron.", None),
    ],
)
def test_the_copy_check_fails_copied_sources(source: str, translation: str, failed: bool | None) -> None:
    assert verdict("copy", source, translation) is failed


def test_a_copy_between_languages_that_share_sentences_is_no_fault() -> None:
    assert verdict("copy", "Jeg har en stor hund hjemme.", "Jeg har en stor hund hjemme.", "da", "nb") is None
    assert verdict("copy", "今天天气很好，我们去公园。", "今天天气很好，我们去公园。", "ja", "zh") is True


def test_the_copied_share_is_one_of_letters() -> None:
    source = ["aa", "bb", "cc", "dd"]
    assert copied.copied_share(source, ["xx", "aa", "bb", "cc"]) == 0.75
    assert copied.copied_share(source, ["aa", "bb", "cc", "dd"]) == 1.0
    assert copied.copied_share(source, ["aa", "bb", "xx", "cc", "dd"]) == 0.0
    assert copied.copied_share(source, ["aa", "bb", "cc", "yyyyyy"]) == 0.5
    assert copied.copied_share(["aa"], ["aa"]) == 1.0 and copied.copied_share(["aa"], []) == 0.0
    assert copied.copied_share(source, ["xx"]) == 0.0


@pytest.mark.parametrize(
    ("source", "of", "least", "judged"),
    [("a small dog barks", "en", 4, True), ("a small dog barks", "en", 5, False), ("今天天气很好吗", "zh", 3, True), ("今天天气很好吗", "zh", 4, False)],
)  # fmt: skip
def test_a_short_source_is_not_judged_by_copies(source: str, of: str, least: int, judged: bool) -> None:
    plan = CheckPlan(ChecksConfig(action="flag", copy=CopyCheck(min_words=least)))
    assert (found("copy", source, source, "de", of, plan) is not None) is judged


def test_names_do_not_count_as_words_of_the_source() -> None:
    plan = CheckPlan(ChecksConfig(action="flag", copy=CopyCheck(min_words=4)))
    assert found("copy", "the old Maria sings well", "die alte Maria singt gut", plan=plan) == Finding(0.0, False)
    assert found("copy", "the old Maria sings", "die alte Maria singt", plan=plan) is None
    assert found("copy", "the old dog barks", "der alte Hund bellt", plan=plan) == Finding(0.0, False)


def test_a_measure_at_its_threshold_does_not_fail() -> None:
    for most, failed in ((0.75, False), (0.74, True)):
        plan = CheckPlan(ChecksConfig(action="flag", copy=CopyCheck(max_share=most)))
        assert found("copy", "aa bb cc dd", "xx aa bb cc", plan=plan) == Finding(
            0.75, failed, "75 % of it is copied from the source" if failed else ""
        )
    loop = "abcdefgh" * 3
    assert repetition.looped_share(loop) == pytest.approx(2 / 3) and repetition.looped_share("abcde" * 3) == 0.0
    for most, failed in ((16 / 24, False), (0.6, True)):
        plan = CheckPlan(ChecksConfig(action="flag", repetition=RepetitionCheck(max_share=most)))
        finding = found("repetition", "x", loop, plan=plan)
        assert finding is not None and finding.failed is failed


def test_a_note_names_three_finds_at_most() -> None:
    four = found("leak", "A dog.", "Ein Hund.<s><pad><unk><|x|>")
    assert four is not None and four.measure == 4.0 and four.note.count("control token") == 3
    lost = found("protected", "{a} {b} {c} {d}", "nichts")
    assert lost is not None and lost.measure == 4.0 and lost.note.count("loses") == 3
    long = found("protected", "{" + "a" * 500 + "}", "nichts")
    assert long is not None and len(long.note) == 200


@pytest.mark.parametrize(
    ("source", "translation", "failed"),
    [
        ("No, no, no, no, no!", "Nein, nein, nein, nein, nein!", False),  # as the source
        ("No!", "Nein, nein, nein, nein, nein, nein, nein, nein!", True),
        ("Ha!", "Hahahahahahahahahahahaha", True),
        ("Wait", "Warte" + "…" * 3, False),
        ("Wait", "Warte" + "." * 60, True),
        ("A line: ----------------------", "Eine Linie: ----------------------", False),
        ("The sea is blue and the sky is blue.", "Das Meer ist blau und der Himmel ist blau.", False),
        ("I go.", "Ich gehe weg von hier. Ich gehe weg von hier. Ich gehe weg von hier.", True),
        ("", "", False),
    ],
)
def test_the_repetition_check_fails_loops(source: str, translation: str, failed: bool) -> None:
    assert verdict("repetition", source, translation) is failed


def test_repetition_in_a_language_without_blanks() -> None:
    sentence = "今日はとても天気がいいです。"
    assert verdict("repetition", "The weather is nice today.", sentence, "ja") is False
    assert verdict("repetition", "The weather is nice today.", sentence * 3, "ja") is True
    assert repetition.repeated_share(list("abcabcabc"), 3) == pytest.approx(1 - 3 / 7)


@pytest.mark.parametrize(
    ("source", "translation", "number"),
    [
        ("A dog.", "Ein Hund.", 0),
        ("A dog.", "Ein Hund.<|endoftext|>", 1),
        ("Type <|endoftext|> here.", "Tippe hier <|endoftext|>.", 0),
        ("A dog.", "▁Ein▁Hund.", 2),
        ("A dog.", "Here is the German translation: Ein Hund.", 1),
        ("A dog.", "Hier ist die Übersetzung: Ein Hund.", 1),
        ("Aquí está la traducción: un perro.", "Here is the translation: a dog.", 0),
        ("La traducción del libro es buena.", "The translation of the book is good.", 0),
        ("A dog.", "Ein Hund.\n\nNote: the article is masculine.", 2),
        ("A dog.\n\nNote: it is old.", "Ein Hund.\n\nHinweis: er ist alt.", 0),
        ("A dog.", "User: A dog.\nAssistant: Ein Hund.", 2),
        ("A dog.\n\nA cat.", "Ein Hund.\n\nEine Katze.", 0),
        ("A dog.", "Ein Hund.\n\nDer Hund.", 1),
        ("A dog.", "Sure, here is the translation you asked for:\nEin Hund.", 1),
        ("A dog.", "I'm sorry, but I cannot help with translating this.", 1),
        ("お釣りが無い。", "I'm sorry, I don't have change.", 0),
    ],
)
def test_leaks(source: str, translation: str, number: int) -> None:
    finds = leaks(CheckedOutput(source, translation, "en", "de", ""))
    assert len(finds) == number, finds
    assert verdict("leak", source, translation) is (number > 0)


def test_text_of_the_prompt() -> None:
    prompt = "Translate the following text from English into German.\nEnglish: \nGerman:"
    output = CheckedOutput("A dog.", "Ein Hund.", "en", "de", "", prompt)
    assert leaks(output) == []
    assert leaks(output._replace(translation="German: Ein Hund.")) == ["label 'german:'"]
    assert leaks(output._replace(translation="Translate the following text from English into German. Ein Hund.")) == [
        "text of the prompt"
    ]
    assert leaks(output._replace(source="German: Hund", translation="German: Hund")) == []
    short = output._replace(prompt="Reply with German only.\nNo other text.\n")
    assert leaks(short._replace(translation="Reply with German only. Ein Hund.")) == ["text of the prompt"]
    assert leaks(short._replace(translation="No other text. Ein Hund.")) == [], "three words may be there by chance"


@pytest.mark.parametrize(
    ("text", "kinds", "spans"),
    [
        ("{name} {0} {{ user.id }} ${x} {} {a.b!r:>10}", ["placeholders"], ["{name}", "{0}", "{{ user.id }}", "${x}", "{}", "{a.b!r:>10}"]),
        ("%s %d %1$s %(x)d %05.2f %% %{n}", ["placeholders"], ["%s", "%d", "%1$s", "%(x)d", "%05.2f", "%%", "%{n}"]),
        ("100% sure, 50% de, 5%discount", ["placeholders"], []),
        ("{a sentence in braces}", ["placeholders"], []),
        ("<b>x</b> <br/> <a href='x'>y</a> 1 < 2 > 1", ["tags"], ["<b>", "</b>", "<br>", "<a href='x'>", "</a>"]),
        ("a &lt; b &#60; c &nbsp; d & e", ["tags"], ["<", "<", "\xa0"]),
        ("See https://a.b/c?d=1&e=2. Or (www.x.org/y), x@y.z!", ["urls", "emails"], ["https://a.b/c?d=1&e=2", "www.x.org/y", "x@y.z"]),
        ("https://a.b/2024 in 2025", ["numbers"], ["2025"]),
        ("1,250.50 and 1 250 at 2:30 or 14.30, 3 dogs, 12月", ["numbers"], ["125050", "250"]),
        ("٢٠٢٥ और २०२५", ["numbers"], ["2025", "2025"]),
        ("Run `a b` and ```c\nd``` now", ["code"], ["`a b`", "```c\nd```"]),
        ("`%s` {x}", ["placeholders"], ["{x}"]),
        ("plain text", list(PROTECTED), []),
    ],
)  # fmt: skip
def test_spans(text: str, kinds: list[str], spans: list[str]) -> None:
    assert sorted(form for _, form in find_spans(text, kinds).elements()) == sorted(spans)


def test_badly_nested_tags_are_found() -> None:
    assert badly_nested("<b>a <i>b</i></b> <br> <img src=x/>") is None
    assert badly_nested("<b>a <i>b</b></i>") == "b"
    assert badly_nested("<b>a") == "b" and badly_nested("a</b>") == "b"


def test_protected() -> None:
    assert verdict("protected", "No marks", "Keine Zeichen") is None
    assert verdict("protected", "Hello {name}", "Hallo {name}") is False
    assert verdict("protected", "Hello {name}", "Hallo {Name}") is True
    assert verdict("protected", "Ten dogs", "10 Hunde") is False, "a number may be written in digits"
    assert verdict("protected", "A dog", "Ein {dog}") is True
    finding = found("protected", "<b>a</b> {x}", "<b>a<b>")
    assert finding is not None and finding.measure == 4.0 and "loses '</b>'" in finding.note
    crossed = found("protected", "<b>a</b>", "<b>a</b></i> {x} {y}")
    assert crossed is not None and crossed.measure == 4.0
    plan = CheckPlan(ChecksConfig(action="flag"), ("urls",))
    assert found("protected", "Hello {name}", "Hallo", plan=plan) is None, "only the kinds that are asked for"


def test_length_limits_do_not_depend_on_the_order_of_shards() -> None:
    outputs = [CheckedOutput("x" * n, "y" * (n + n % 7), "en", "de", "en→de") for n in range(20, 120)]
    shards = [length.tally(outputs[i::4]) for i in range(4)]
    whole = length.limits([length.tally(outputs)], 50)
    assert all(length.limits(order, 50) == whole for order in itertools.permutations(shards))
    assert length.limits([length.tally(outputs)], 101) == {}, "too few rows for limits"
    limits = whole["en→de"]
    ratios = sorted(length.log_ratio(o.source, o.translation) for o in outputs)
    assert limits.median == pytest.approx((ratios[49] + ratios[50]) / 2, abs=1 / 128)
    even = [CheckedOutput("x" * 997, "y" * n, "en", "de", "p") for n in range(700, 1300)]
    low, median, high = (length.log_ratio("x" * 997, "y" * n) for n in (850, 1000, 1150))
    assert length.limits([length.tally(even)], 10)["p"] == pytest.approx(
        (median, median - low, high - median), abs=2e-3
    )


def test_a_fifth_of_bad_translations_does_not_move_the_limits_far() -> None:
    good = [CheckedOutput("x" * n, "y" * (n + n % 7), "en", "de", "p") for n in range(20, 120)]
    bad = [output._replace(translation="z" * 2000) for output in good[:20]]
    few, many = (length.limits([length.tally(rows)], 50)["p"] for rows in (good, [*good[20:], *bad]))
    plan = CheckPlan(ChecksConfig(action="flag"), (), {"p": many})
    check = length.open_check(plan)
    assert abs(few.median - many.median) < 0.05
    assert all(check(output).failed for output in bad) and not any(check(output).failed for output in good)  # type: ignore[union-attr]


def test_the_ratio_of_short_texts_is_damped() -> None:
    assert length.log_ratio(" x" + 6 * "x" + "\n", 17 * "y") == pytest.approx(math.log(20 / 10))


def test_length_is_measured_in_spreads_on_each_side() -> None:
    plan = CheckPlan(
        ChecksConfig(action="flag", length=LengthCheck(max_spreads=2)), (), {"en→de": LengthLimits(0, 0.1, 0.2)}
    )
    measures = {n: found("length", "x" * 97, "y" * n, plan=plan) for n in (67, 97, 142, 157)}
    assert {n: finding and finding.failed for n, finding in measures.items()} == {
        67: True,
        97: False,
        142: False,
        157: True,
    }
    assert measures[97] == Finding(0.0, False)
    assert found("length", "x", "y" * 90, "fr", plan=plan) is None, "a pair without limits"


def test_the_worst_action_and_then_the_order_of_the_table_give_the_status() -> None:
    source = "The dog sleeps under the table all day."
    output = CheckedOutput(source, source + "<|im_end|>", "en", "de", "en→de")
    for config, status in (
        (ChecksConfig(action="flag"), "leaked_markup"),
        (ChecksConfig(action="flag", copy=CopyCheck(action="quarantine")), "copied_source"),
        (ChecksConfig(copy=CopyCheck(action="flag")), "copied_source"),
    ):
        checker = Checker(CheckPlan(config))
        found_status, words = checker.verdict(checker.findings(output)) or ("", "")
        assert found_status == status
        assert ("leak: control token '<|im_end|>'; copy: 84 % of it" in words) is (config.action == "flag")
    assert Checker(CheckPlan()).findings(output) == {}


def test_a_row_that_is_translated_in_part_is_not_compared_as_a_whole() -> None:
    plan = CheckPlan(ChecksConfig(action="flag"), KINDS, {"en→de": LengthLimits(0, 0.1, 0.1)})
    output = CheckedOutput("Hello {name}, how are you doing on this fine day?", "Hallo,", "en", "de", "en→de")
    names = {name for name, compares in ((name, kind.compares) for name, kind in CHECKS.items()) if compares}
    assert names == {"protected", "length"}
    assert {name for name, each in Checker(plan).findings(output).items() if each.failed} == names
    assert not names & set(Checker(plan).findings(output, whole=False))


ODD = {
    "digits": "1" * 40_000 + ":", "blanks": " " * 40_000 + "x", "lines": "\n" * 40_000, "an address": "a" * 40_000 + " @", "brackets": "{" * 40_000,
    "tags": "<a " * 15_000, "angles": "<" * 40_000, "ticks": "`" * 40_000, "percent": "%(" * 20_000, "dots": "http://" + "." * 40_000,
    "marks": "* ( [ " * 7_000, "combining": "e" + "\u0301" * 40_000, "capitals": "A a " * 10_000, "colons": "note" + " " * 20_000 + ":",
    "stops": ". " * 20_000, "surrogate": "a\ud800b" * 10_000, "entities": "&" * 40_000, "words": "Translation of " * 3_000,
}  # fmt: skip


@pytest.mark.parametrize("text", ODD.values(), ids=list(ODD))
def test_odd_long_texts_take_no_long_time(text: str) -> None:
    checker = Checker(CheckPlan(ChecksConfig(action="flag"), KINDS, {"p": LengthLimits(0, 0.1, 0.1)}))
    started = time.process_time()
    for source, translation in ((text, text + "."), ("A dog.", text), (text, "Ein Hund.")):
        checker.findings(CheckedOutput(source, translation, "en", "de", "p"))
    assert time.process_time() - started < 5
