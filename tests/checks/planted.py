"""Sentences in eleven languages, written for this project, and faults planted in their translations."""

from collections.abc import Callable, Iterator

from routelmt_ray.checks.plan import CheckedOutput

SENTENCES = {
    "en": [
        "The old bridge was closed for repairs because the river had damaged two of its pillars.",
        "My neighbour plants tomatoes every spring, although the summers here are far too short.",
        "If you arrive before noon, we can still have lunch together at the small café near the station.",
        "The committee will publish its report next week, and everybody expects a long debate.",
        "She opened the window, listened to the rain for a while, and then went back to her work.",
        "Children learn a new language much faster when they are allowed to play in it.",
    ],
    "de": [
        "Die alte Brücke wurde wegen Reparaturen gesperrt, weil der Fluss zwei ihrer Pfeiler beschädigt hatte.",
        "Mein Nachbar pflanzt jedes Frühjahr Tomaten, obwohl die Sommer hier viel zu kurz sind.",
        "Wenn du vor Mittag ankommst, können wir noch zusammen im kleinen Café am Bahnhof zu Mittag essen.",
        "Der Ausschuss wird nächste Woche seinen Bericht veröffentlichen, und alle erwarten eine lange Debatte.",
        "Sie öffnete das Fenster, hörte eine Weile dem Regen zu und ging dann zurück an ihre Arbeit.",
        "Kinder lernen eine neue Sprache viel schneller, wenn sie in ihr spielen dürfen.",
    ],
    "fr": [
        "Le vieux pont a été fermé pour travaux parce que la rivière avait abîmé deux de ses piliers.",
        "Mon voisin plante des tomates chaque printemps, bien que les étés soient ici beaucoup trop courts.",
        "Si tu arrives avant midi, nous pourrons encore déjeuner ensemble au petit café près de la gare.",
        "Le comité publiera son rapport la semaine prochaine, et tout le monde s'attend à un long débat.",
        "Elle ouvrit la fenêtre, écouta la pluie un moment, puis retourna à son travail.",
        "Les enfants apprennent une nouvelle langue bien plus vite lorsqu'ils peuvent jouer avec elle.",
    ],
    "es": [
        "El viejo puente se cerró por reparaciones porque el río había dañado dos de sus pilares.",
        "Mi vecino planta tomates cada primavera, aunque los veranos aquí son demasiado cortos.",
        "Si llegas antes del mediodía, todavía podemos comer juntos en el pequeño café cerca de la estación.",
        "El comité publicará su informe la semana que viene, y todo el mundo espera un largo debate.",
        "Ella abrió la ventana, escuchó la lluvia un rato y después volvió a su trabajo.",
        "Los niños aprenden un idioma nuevo mucho más rápido cuando se les deja jugar en él.",
    ],
    "ru": [
        "Старый мост закрыли на ремонт, потому что река повредила две его опоры.",
        "Мой сосед каждую весну сажает помидоры, хотя лето здесь слишком короткое.",
        "Если ты приедешь до полудня, мы ещё успеем пообедать вместе в маленьком кафе у вокзала.",
        "Комитет опубликует свой доклад на следующей неделе, и все ожидают долгих споров.",
        "Она открыла окно, немного послушала дождь и снова вернулась к работе.",
        "Дети учат новый язык гораздо быстрее, когда им разрешают на нём играть.",
    ],
    "tr": [
        "Eski köprü, nehir iki ayağına zarar verdiği için onarım amacıyla kapatıldı.",
        "Komşum her bahar domates eker, oysa burada yazlar çok kısa geçer.",
        "Öğleden önce gelirsen istasyonun yanındaki küçük kafede birlikte öğle yemeği yiyebiliriz.",
        "Komite raporunu gelecek hafta yayımlayacak ve herkes uzun bir tartışma bekliyor.",
        "Pencereyi açtı, bir süre yağmuru dinledi ve sonra işine geri döndü.",
        "Çocuklar içinde oyun oynamalarına izin verildiğinde yeni bir dili çok daha hızlı öğrenir.",
    ],
    "fi": [
        "Vanha silta suljettiin korjausten vuoksi, koska joki oli vaurioittanut kahta sen pilaria.",
        "Naapurini istuttaa tomaatteja joka kevät, vaikka kesät ovat täällä aivan liian lyhyitä.",
        "Jos saavut ennen puoltapäivää, voimme vielä syödä lounasta yhdessä aseman lähellä olevassa pienessä kahvilassa.",
        "Komitea julkaisee raporttinsa ensi viikolla, ja kaikki odottavat pitkää keskustelua.",
        "Hän avasi ikkunan, kuunteli sadetta hetken ja palasi sitten työnsä pariin.",
        "Lapset oppivat uuden kielen paljon nopeammin, kun he saavat leikkiä sillä.",
    ],
    "ar": [
        "أُغلق الجسر القديم للإصلاح لأن النهر كان قد ألحق الضرر باثنين من أعمدته.",
        "يزرع جاري الطماطم كل ربيع مع أن فصول الصيف هنا قصيرة جدا.",
        "إذا وصلت قبل الظهر فما زال بإمكاننا أن نتناول الغداء معا في المقهى الصغير قرب المحطة.",
        "ستنشر اللجنة تقريرها الأسبوع المقبل، والجميع يتوقع نقاشا طويلا.",
        "فتحت النافذة واستمعت إلى المطر قليلا ثم عادت إلى عملها.",
        "يتعلم الأطفال لغة جديدة أسرع بكثير عندما يُسمح لهم باللعب بها.",
    ],
    "hi": [
        "पुराना पुल मरम्मत के लिए बंद कर दिया गया क्योंकि नदी ने उसके दो खंभों को नुकसान पहुँचाया था।",
        "मेरा पड़ोसी हर वसंत में टमाटर लगाता है, हालाँकि यहाँ गर्मियाँ बहुत छोटी होती हैं।",
        "अगर तुम दोपहर से पहले आ जाओ, तो हम स्टेशन के पास वाले छोटे कैफ़े में साथ खाना खा सकते हैं।",
        "समिति अगले सप्ताह अपनी रिपोर्ट प्रकाशित करेगी, और सब लंबी बहस की उम्मीद कर रहे हैं।",
        "उसने खिड़की खोली, कुछ देर बारिश की आवाज़ सुनी और फिर अपने काम पर लौट गई।",
        "बच्चे नई भाषा बहुत जल्दी सीखते हैं जब उन्हें उसमें खेलने दिया जाता है।",
    ],
    "ja": [
        "川が橋脚を二本傷つけたため、古い橋は修理のために閉鎖された。",
        "ここの夏はとても短いのに、隣の人は毎年春になるとトマトを植える。",
        "お昼前に着けば、駅の近くの小さな喫茶店でまだ一緒に昼ご飯を食べられます。",
        "委員会は来週報告書を発表する予定で、誰もが長い議論になると思っている。",
        "彼女は窓を開け、しばらく雨の音を聞いてから、また仕事に戻った。",
        "子どもは新しい言葉で遊ばせてもらえると、ずっと早くそれを覚える。",
    ],
    "zh": [
        "因为河水损坏了两根桥墩，那座旧桥已经关闭进行维修。",
        "虽然这里的夏天实在太短，我的邻居每年春天还是种西红柿。",
        "如果你中午以前到，我们还可以一起在车站附近的小咖啡馆吃午饭。",
        "委员会将在下周公布报告，大家都预计会有一场漫长的辩论。",
        "她打开窗户，听了一会儿雨声，然后又回去工作了。",
        "如果允许孩子们用新语言玩耍，他们学起来会快得多。",
    ],
}
"""The same six sentences in each language."""
TARGETS = [language for language in SENTENCES if language != "en"]
PROMPT = "Translate from English to {}. Reply with the translation only.\n\n"
MARKED = [
    ("Hello {name}, you have %d new messages in {{folder}}.", "{name} · %d · {{folder}}"),
    ("Click <b>Save &amp; close</b> to keep the file <code>a.txt</code>.", "<b>… &amp; …</b> · <code>a.txt</code>"),
    ("Write to help@example.org or see https://example.org/help?id=7 for more.", "help@example.org · https://example.org/help?id=7"),
    ("Run `make test` before 31 December 2025; it takes 1,250 seconds.", "`make test` · 31 · 2025 · 1.250"),
    ("%(count)s of ${total} rows are <i>not</i> translated.", "%(count)s · ${total} · <i>…</i>"),
]  # fmt: skip
"""Sources with text that must stay as it is, and this text in a translation."""


def pairs() -> Iterator[CheckedOutput]:
    """Yields each sentence into and out of English, translated by a human."""
    for language in TARGETS:
        for english, other in zip(SENTENCES["en"], SENTENCES[language]):
            yield CheckedOutput(english, other, "en", language, f"en→{language}", PROMPT.format(language))
            yield CheckedOutput(other, english, language, "en", f"{language}→en", PROMPT.format("English"))


def marked() -> Iterator[CheckedOutput]:
    """Yields sources with text that must stay as it is, translated into each language."""
    for language in TARGETS:
        for (source, kept), sentence in zip(MARKED, SENTENCES[language]):
            yield CheckedOutput(source, f"{sentence} {kept}", "en", language, f"en→{language}")


def _another(output: CheckedOutput, step: int) -> str:
    """A translation of the same sentence into another language, neither that of the source nor that of the target."""
    number = SENTENCES[output.source_lang].index(output.source)
    others = [code for code in SENTENCES if code not in (output.source_lang, output.target_lang)]
    return SENTENCES[others[(number + step) % len(others)]][number]


def _following(output: CheckedOutput, language: str, n: int) -> str:
    number = SENTENCES[output.source_lang].index(output.source)
    return SENTENCES[language][(number + n) % len(SENTENCES[language])]


def _third(text: str) -> str:
    return text[: len(text) // 3]


FAULTS: dict[str, dict[str, Callable[[CheckedOutput], str]]] = {
    "language": {
        "another language": lambda o: _another(o, 0),
        "a further language": lambda o: _another(o, 3),
        "another sentence in the language of the source": lambda o: _following(o, o.source_lang, 1),
        "the beginning is right": lambda o: o.translation[: len(o.translation) // 6] + " " + _another(o, 5),
    },
    "copy": {
        "the source": lambda o: o.source,
        "the source in capitals": lambda o: o.source.upper(),
        "the source with a label": lambda o: f"{o.target_lang}: {o.source}",
        "the end of the source": lambda o: o.translation[: len(o.translation) // 5] + " " + o.source[len(o.source) // 5 :],
    },
    "length": {
        "cut to a quarter": lambda o: o.translation[: len(o.translation) // 4],
        "one word": lambda o: o.translation[:6],
        "four sentences": lambda o: " ".join(_following(o, o.target_lang, n) for n in range(4)),
        "all sentences": lambda o: " ".join(SENTENCES[o.target_lang]),
    },
    "repetition": {
        "the last word": lambda o: o.translation + 12 * (" " + o.translation.split()[-1][-8:]),
        "the last character": lambda o: o.translation + 40 * o.translation[-2],
        "the whole sentence": lambda o: " ".join([o.translation] * 4),
        "a part of the sentence": lambda o: o.translation + 6 * o.translation[-20:],
        "two words": lambda o: _third(o.translation) + 10 * " ha no",
    },
    "leak": {
        "a control token": lambda o: o.translation + "<|im_end|>",
        "an end of a sentence": lambda o: o.translation + "</s>",
        "the prompt": lambda o: o.prompt + o.translation,
        "a role": lambda o: "assistant: " + o.translation,
        "an introduction": lambda o: f"Sure! Here is the translation:\n\n{o.translation}",
        "a short introduction": lambda o: f"Translation: {o.translation}",
        "a remark": lambda o: o.translation + "\n\nNote: the tone of the source is informal.",
        "a second answer": lambda o: o.translation + "\n\n" + _following(o, o.target_lang, 1),
        "reasoning": lambda o: f"<think>They want it in {o.target_lang}.</think>{o.translation}",
        "byte tokens": lambda o: o.translation + "<0x0A>",
    },
}  # fmt: skip
"""By check: what is done to a good translation."""
LOST: dict[str, Callable[[str], str]] = {
    "a placeholder": lambda t: t.replace("{name}", "{nombre}").replace("%(count)s", "%(count)"),
    "a doubled brace": lambda t: t.replace("{{folder}}", "{folder}").replace("${total}", "total"),
    "a printf place": lambda t: t.replace("%d", "% d").replace("%(count)s", "(count)s"),
    "a closing tag": lambda t: t.replace("</b>", "").replace("</i>", "<i>"),
    "an entity": lambda t: t.replace("&amp;", "&"),
    "a crossing": lambda t: t.replace("</b>", "").replace("<code>", "<code></b>").replace("<i>…</i>", "</i>…<i>"),
    "an address": lambda t: t.replace("?id=7", "").replace("help@", "ayuda@"),
    "a number": lambda t: t.replace("1.250", "1.205"),
    "a year": lambda t: t.replace("2025", "2024"),
    "a command": lambda t: t.replace("`make test`", "`hacer test`"),
    "doubled": lambda t: t.replace("{name}", "{name} {name}").replace("<b>", "<b><b>"),
}
"""Changes to a translation with text that must stay as it is."""
