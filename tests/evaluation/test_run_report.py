"""The report of a translate run: what it says, that it is safe to open, and that odd runs still get one."""

import copy
import io
import json
from typing import Any

import matplotlib
import pytest
from rich.console import Console

from routelmt_ray.reports import plots, summary
from routelmt_ray.reports.pages import run_page
from tests.evaluation import run_reports
from tests.evaluation.run_reports import Page


@pytest.fixture
def report() -> dict[str, Any]:
    return run_reports.finished()


def nothing_routed(report: dict[str, Any]) -> None:
    report["budget"] |= {"asked": "rows 0", "k": 0, "routed": 0, "threshold": None}
    report["models_used"] = {"small": 12_343, "large": 0, "none": 2}
    report["fallbacks"] = 0
    histogram = report["gain_histogram"]
    histogram["small"] = [a + b for a, b in zip(histogram["small"], histogram["large"])]
    histogram["large"] = [0] * 60
    for pair in report["pairs"]:
        pair |= {"routed": 0, "small": pair["rows"], "large": 0}
    del report["quality"]["by_model"]["large"]


def everything_routed(report: dict[str, Any]) -> None:
    histogram = report["gain_histogram"]
    histogram["large"] = [a + b for a, b in zip(histogram["small"], histogram["large"])]
    histogram["small"] = [0] * 60
    report["budget"] |= {"asked": "fraction 1.0", "k": 12_343, "routed": 12_343, "threshold": histogram["edges"][0]}
    report["models_used"] = {"small": 0, "large": 12_343, "none": 2}
    for pair in report["pairs"]:
        pair |= {"routed": pair["rows"], "small": 0, "large": pair["rows"]}


def no_rows(report: dict[str, Any]) -> None:
    report["input"] |= {"files": 0, "rows": 0, "bytes": 0}
    report["budget"] |= {"n_rows": 0, "n_eligible": 0, "k": 0, "routed": 0, "threshold": None}
    report["models_used"] = {"small": 0, "large": 0, "none": 0}
    report |= {"fallbacks": 0, "quarantined": 0, "statuses": {}, "pairs": [], "quality": None, "stages": []}
    report["gain_histogram"] = {"edges": [], "small": [], "large": []}


def all_quarantined(report: dict[str, Any]) -> None:
    report["budget"] |= {"n_eligible": 0, "k": 0, "routed": 0, "threshold": None}
    report["models_used"] = {"small": 0, "large": 0, "none": 12_345}
    report |= {"fallbacks": 0, "quarantined": 12_345, "quality": None}
    report["gain_histogram"] = {"edges": [], "small": [], "large": []}
    for pair in report["pairs"]:
        pair |= {"routed": 0, "small": 0, "large": 0}


def other_score(report: dict[str, Any]) -> None:
    report["router"] = {"kind": "length", "path": None, "unit": "characters", "held_out": None}


def resumed(report: dict[str, Any]) -> None:
    report["stages"][0] |= {"rows_this_start": 0, "wall_s": 0.0, "rows_per_s": None}
    report["budget"]["entries"] = 2


def damaged(report: dict[str, Any]) -> None:
    report["input"]["damaged_files"] = [f"part-{i}.jsonl.gz ends early" for i in range(250)]


def not_all_read(report: dict[str, Any]) -> None:
    named = ["more.csv: not of a known kind", "a<b>.parquet: a Git LFS pointer", "README.md: holds no rows"]
    report["input"]["unread"] = {"files": 200, "counted": 2, "named": named}


def odd_ids(report: dict[str, Any]) -> None:
    report["input"]["ids"] = {"column": "doc", "null": 2, "duplicates": 1_234, "exact": False}


ODD_RUNS = {
    not_all_read: [
        "2 files in the input may hold rows and are not read; see “Files that are not read” below.", "more.csv: not of a known kind",
        "a<b>.parquet", "Of 200 beside the corpus, 2 may hold rows", "There are 197 more.",
    ],
    odd_ids: ["Ids: about 1,234 rows with an id of an earlier row and 2 rows without one (doc); all are kept."],
    nothing_routed: [
        "12,343 rows translated, none by the large model.", "The budget routes no row.", "of 0 allowed", "chrF",
    ],
    everything_routed: ["12,343 rows translated, all by the large model.", "The budget covers every eligible row."],
    no_rows: [
        "The corpus has no rows: nothing to translate.", "No row got a score", "There are no rows.", "No stage ran.",
        "The corpus has no references",
    ],
    all_quarantined: [
        "None of 12,345 rows could be translated.", "not translated 12,345 (100.0 %)", "No row got a score",
    ],
    other_score: ["length of the source, characters", "only ranks rows"],
    resumed: ["Time of this start 2 min 30 s", "This start", "plan entry 2"],
    damaged: ["250 input files could not be read to the end", "Damaged input files", "part-99.jsonl.gz", "150 more"],
}  # fmt: skip


def test_says_what_was_asked_and_done_in_order(report: dict[str, Any]) -> None:
    page = Page(run_page(report))
    expected = [
        "12,343 rows translated; 3,699 (30.0 % of 12,343 eligible) by the large model.",
        "Rows 12,345 3 files, 1.23 MB",
        "Routed to the large model 3,703 of 3,703 allowed", "fraction 0.3 100.0 % of it spent", "Quarantined 2",
        "82.3 rows/s 2 min 30 s in all", "0.813 mean of 12,343 rows", "large model 3,699 (30.0 %)",
        "4 routed rows were translated by the small model", "to the small model: 8,640 rows",
        "to the large model: 3,703 rows", "en→de", "37.5 %", "3,000 of 8,000", "All 2 language pairs",
        "null_source the source is null 2 <0.1 %", "translated different rows", "Small model 8,644 0.801",
        "Large model 3,699 0.842", "nrefs:1|case:mixed|nc:6", "score 12,345 31.0 s 398 27.9 s – –",
        "translate, large 3,703 1 min 06 s 56.1 1 min 00 s 60,000 1,000", "demo/large at v2",
        "rows 1,500, spearman 0.64",
        "fraction: 0.3", "RouteLMT on Ray 0.1.0",
    ]  # fmt: skip
    at = 0
    for words in expected:
        found = page.text.find(words, at)
        assert found >= 0, f"{words!r} is not in the page after {page.text[max(0, at - 80) : at]!r}"
        at = found


@pytest.mark.parametrize("change", ODD_RUNS, ids=lambda change: change.__name__)
def test_odd_runs_get_a_sensible_report(report: dict[str, Any], change: Any) -> None:
    change(report)
    page = Page(run_page(report))
    for words in ODD_RUNS[change]:
        assert words in page.text
    for nonsense in ("nan", "inf ", "None ", "Undefined"):
        assert nonsense not in page.text.replace("None of 12,345", "")
    summary.print_summary(report, Console(file=io.StringIO(), width=80))


def test_report_may_have_been_read_back_from_json(report: dict[str, Any]) -> None:
    assert run_page(json.loads(json.dumps(report))) == run_page(report)


@pytest.mark.parametrize(
    "evil",
    ["<script>alert('x')</script>", "\"'><img src=x onerror=alert(1)>", "]]></svg><script>x</script>", "{{ 1/0 }}"],
)
def test_user_strings_are_text_and_nothing_else(report: dict[str, Any], evil: str) -> None:
    damaged(report)
    harmless = Page(run_page(run_reports.planted(report, " x")))
    report = run_reports.planted(report, evil)
    report["config"][evil] = {evil: evil}
    report["versions"][evil] = evil
    page = Page(run_page(report))
    assert not [tag for tag, _ in page.tags if tag in ("script", "img", "iframe", "object", "link", "base")]
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in harmless.tags}
    assert page.text.count(evil) > 20


def test_status_and_pair_names_are_escaped_in_tables_and_figures(report: dict[str, Any]) -> None:
    report["statuses"]["<script>s</script>"] = {"rows": 1, "meaning": "<b>m</b>"}
    report["pairs"][0]["pair"] = "<script>$x_1$"
    html = run_page(report)
    assert "<script" not in html
    assert "<b>" not in html
    assert ">&lt;script&gt;$x_1$</text>" in plots.routed_share(report["pairs"])


def test_words_that_break_encodings_or_lines_are_made_harmless(report: dict[str, Any]) -> None:
    report["run_dir"] = "a\x00b\x1b[31mc\ud800d\u202ee\nf"
    report["pairs"][0]["pair"] = "\x00\ud800\u202e\ufffe→日本語"
    html = run_page(report)
    assert html.encode("utf-8")
    assert "a�b�[31mc�d�e f" in html
    assert "����→日本語" in html


def test_needs_nothing_but_itself(report: dict[str, Any]) -> None:
    html = run_page(report)
    page = Page(html)
    policy = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'"]
    for _, attributes in page.tags:
        assert not {"src", "srcset", "data", "action", "poster"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
        for value in attributes.values():
            assert "url(" not in value.replace("url(#", "")
    assert "@import" not in page.style
    assert "url(" not in page.style
    assert html.replace("http://www.w3.org/2000/svg", "").count("://") == 0


def test_figures_share_no_ids_and_refer_only_to_their_own(report: dict[str, Any]) -> None:
    page = Page(run_page(report))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 0
    used = " ".join(value for _, attributes in page.tags for value in attributes.values() if "#" in value)
    references = [word.split(")")[0] for word in used.split("url(#")[1:]]
    references += [a["href"][1:] for _, a in page.tags if "href" in a]
    assert set(references) <= set(ids)


def test_readable_without_seeing(report: dict[str, Any]) -> None:
    page = Page(run_page(report))
    assert page.all("html") == [{"lang": "en"}]
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))
    figures = page.all("svg")
    assert len(figures) == 2
    assert all(figure["role"] == "img" for figure in figures)
    assert "8,640 rows go to the small model, 3,703 to the large one; the threshold is" in figures[0]["aria-label"]
    assert "en→de 37.5 %; en→ja 16.2 %" in figures[1]["aria-label"]


def test_many_pairs_show_the_largest_and_list_all(report: dict[str, Any]) -> None:
    report["pairs"] = [
        {"pair": f"p{i:04d}→q", "rows": i, "routed": i // 3, "small": i - i // 3, "large": i // 3} for i in range(6001)
    ]
    html = run_page(report)
    assert len(html) < 1_000_000
    text = Page(html).text
    assert "The 25 largest pairs are drawn; 5,975 more are in the table." in text
    assert "2,000 smaller pairs left out here" in text
    figure = plots.routed_share(report["pairs"])
    assert ">p6000→q<" in figure
    assert ">p5976→q<" in figure
    assert ">p5975→q<" not in figure


def test_same_report_same_bytes_with_any_settings_of_matplotlib(
    report: dict[str, Any], drawn_once: pytest.MonkeyPatch
) -> None:
    drawn_once.undo()
    first = run_page(copy.deepcopy(report))
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "black"}):
        assert run_page(report) == first
        assert matplotlib.rcParams["font.size"] == 30
    assert dict(matplotlib.rcParams) == before


def test_histogram_leaves_a_sparse_tail_beyond_the_axis_and_says_so() -> None:
    counts = [500, 400, 95] + [0] * 96 + [1]
    svg = plots.gain_histogram(
        {"edges": list(range(101)), "small": counts, "large": [0] * 100}, threshold=None, label="length"
    )
    assert "1 row beyond the axis" in svg
    assert ">60<" not in svg


def test_histogram_never_hides_the_threshold() -> None:
    small, large = [500, 400, 100] + [0] * 97, [0] * 99 + [1]
    svg = plots.gain_histogram({"edges": list(range(101)), "small": small, "large": large}, threshold=99.5, label="x")
    assert ">threshold 99.5<" in svg
    assert "beyond" not in svg


def test_histogram_of_uneven_bins_is_a_density() -> None:
    svg = plots.gain_histogram({"edges": [0, 1, 3], "small": [4, 4], "large": [0, 0]}, threshold=None, label="x")
    assert ">rows per unit<" in svg


@pytest.mark.parametrize(
    ("histogram", "drawn"),
    [
        ({}, False),
        ({"edges": [], "small": [], "large": []}, False),
        ({"edges": [0, 1], "small": [0], "large": [0]}, False),
        ({"edges": [0.5, 0.5], "small": [2], "large": [1]}, True),
        ({"edges": [-1e-9, 0, 1e-9], "small": [10**12, 0], "large": [0, 1]}, True),
    ],
)
def test_histogram_without_rows_or_width(histogram: dict[str, list[float]], drawn: bool) -> None:
    assert bool(plots.gain_histogram(histogram, threshold=0.5, label="x")) == drawn


def _printed(report: dict[str, Any], **console: Any) -> str:
    file = io.StringIO()
    summary.print_summary(report, Console(file=file, width=80, **console))
    return file.getvalue()


def test_summary_is_short_plain_text_without_a_terminal(report: dict[str, Any]) -> None:
    report["budget"]["threshold"] = 0.1789
    assert _printed(report) == (
        "12,343 rows translated; 3,699 (30.0 % of 12,343 eligible) by the large model\n"
        "rows         12,345 in 3 files\n"
        "routed       3,703 of 3,703 allowed (fraction 0.3), threshold 0.1789 (gain)\n"
        "models       small 8,644, large 3,699, none 2\n"
        "fallbacks    4 routed, but translated by the small model\n"
        "quarantine   2 rows, kept whole in quarantine/\n"
        "not ok       null_source 2\n"
        "chrF         all 0.813 (12,343), large 0.842 (3,699), small 0.801 (8,644)\n"
        "stage                rows    wall time   rows/s\n"
        "score              12,345       31.0 s      398\n"
        "translate, large    3,703   1 min 06 s     56.1\n"
        "merge              12,345        4.0 s    3,086\n"
        "output       runs/demo/output/\n"
        "report       runs/demo/report.html\n"
    )


def test_summary_keeps_to_its_columns_and_lines(report: dict[str, Any]) -> None:
    damaged(report)
    report["statuses"] |= {f"reason_number_{i}": {"rows": 1000 * i, "meaning": ""} for i in range(1, 40)}
    report["stages"] += [run_reports.stage("a stage with a very long name " * 3, 10**12, 1e6, 1.0, 1)]
    lines = _printed(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 20
    assert "and 34 more" in " ".join(lines)


def test_summary_does_not_break_paths_or_read_them_as_markup(report: dict[str, Any]) -> None:
    report["run_dir"] = "/data/" + "deep/" * 30 + "[bold]run[/bold] :smile:\x1b[31m"
    report["budget"]["asked"] = "[red]rows 5"
    text = _printed(report, force_terminal=True, color_system=None)
    assert f"{report['run_dir'][:-5]}�[31m/report.html\n" in text
    assert "([red]rows 5)" in text


def test_summary_does_not_break_the_path_of_an_account(report: dict[str, Any]) -> None:
    path = "/data/" + "deep-folder/" * 12 + "account"
    report["account"] = {
        "path": path, "first": "2026-11-01", "last": "2026-11-30", "unit": "rows", "granted": 6, "used": 6, "price": None,
        "state": "settled", "allowance": 60, "left": 54, "reserved": 0,
    }  # fmt: skip
    text = _printed(report)
    assert "account      6 rows granted, 6 rows used; of 60 rows" in text and path in text


def test_summary_fits_a_console_that_knows_only_ascii(report: dict[str, Any]) -> None:
    report["run_dir"] = "/données/日本"
    report["stages"][0] |= {"rows_per_s": None}
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    summary.print_summary(report, Console(file=file, width=80))
    file.flush()
    assert b"/donn?es/??/report.html" in raw.getvalue()


def test_batches_that_failed_are_told(report: dict[str, Any]) -> None:
    def said() -> tuple[str, str]:
        shown = io.StringIO()
        summary.print_summary(report, Console(file=shown, width=160))
        return run_page(report), shown.getvalue()

    assert not any("was halved" in text for text in said())
    report["stages"][1]["halved_batches"] = 1234
    assert all("a batch failed and was halved 1,234 times" in text for text in said())
