"""Text that is no JSON Lines is called what it is."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt_ray.corpus import sniff
from routelmt_ray.corpus.column_checks import check_columns, check_spelling
from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.corpus.shard_reader import read_shard

TEXT = '{"source": "naïve café"}'
SOURCE = {"input.columns.source": "source"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (TEXT.encode("utf-16"), "is in UTF-16, not in UTF-8"),
        (TEXT.encode("utf-16-le")[:-1], "is in UTF-16, not in UTF-8"),  # as lines are cut at a line feed
        (TEXT.encode("latin-1"), "is perhaps in ISO-8859-1, not in UTF-8"),
        (b'{"source": "\xed\xa0\xbd"}', "half of a surrogate pair"),
        (b"[1]", "is JSON, but not an object"),
        (b'{"source": "\\ud800"}', "half of a surrogate pair"),
        (b'{"source": "cut', "is not JSON"),
        (b"{" * 5000, "is not JSON"),
    ],
)
def test_a_bad_line_is_explained(line: bytes, words: str) -> None:
    assert words in sniff.why_no_object(line)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", (TEXT + "\n").encode("utf-16") * 3, "in UTF-16 instead of UTF-8; convert it, e.g. with `iconv -f UTF-16"),
        ("a.jsonl", (TEXT + "\n").encode("latin-1") * 3, "iconv -f ISO-8859-1 -t UTF-8"),
        ("a.jsonl", b'source,target\n"a","b"\n', "CSV"),
        ("a.jsonl", b'{\n  "source": "a"\n}\n', "one JSON value over many lines"),
        ("a.jsonl", b"\x1f\x8b\x08\x00abc", "compressed by gzip; its name must end in .gz"),
        ("a.jsonl", b"PAR1", "its name must end in .parquet"),
        ("a.jsonl", b"<!DOCTYPE html>", "HTML"),
    ],
)  # fmt: skip
def test_a_corpus_without_any_object_is_refused_at_once(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="no file has one JSON object per line") as error:
        check_columns(find_files(str(tmp_path)), SOURCE)
    assert words in str(error.value)


def test_one_odd_file_among_others_and_empty_ones_are_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n \n")
    check_columns(find_files(str(tmp_path)), SOURCE)
    (tmp_path / "b.jsonl").write_bytes(TEXT.encode("utf-16"))
    check_columns(find_files(str(tmp_path)), SOURCE)
    (tmp_path / "c.jsonl").write_text(TEXT)
    check_columns(find_files(str(tmp_path)), SOURCE)


def here(function, arguments):
    return [function(*each) for each in arguments]


def test_a_column_that_is_spelt_with_other_capitals_in_some_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "a", "N": 1}\n')
    pq.write_table(pa.table({"text": ["p"], "Text": ["both"], "n": [1]}), folder / "b.parquet")
    wanted = {"input.columns.source": "text"}
    check_spelling(open_corpus(find_files(str(folder)), tmp_path / "1", here), wanted, here)
    (folder / "c.jsonl").write_text('{"text": "a"}\n{"Text": "a"}\n' * 2)
    with pytest.raises(
        ValueError, match="input.columns.source is 'text', but 2 rows have the column 'Text' in place of 'text'"
    ):
        check_spelling(open_corpus(find_files(str(folder)), tmp_path / "2", here), wanted, here)
    pq.write_table(pa.table({"TEXT": ["p"] * 5}), folder / "d.parquet")
    with pytest.raises(ValueError, match="5 rows have the column 'TEXT' in place of 'text'"):
        check_spelling(open_corpus(find_files(str(folder)), tmp_path / "3", here), wanted, here)


def test_fields_are_named_by_dotted_paths(tmp_path: Path) -> None:
    nested = [
        {"translation": {"en": "one", "de": "eins"}},
        {"translation": None},
        {"translation": {"en": None, "de": "x"}},
    ]
    (tmp_path / "a.jsonl").write_text('{"translation": {"en": "zero", "de": "null"}}\n{}\nno json\n')
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "b.parquet")
    files = find_files(str(tmp_path))
    for key in ("translation.en", "translation.de", "translation"):
        check_columns(files, {"input.columns.source": key})
    with pytest.raises(ValueError, match="has no such column; it has: translation, translation.de, translation.en"):
        check_columns(files, {"input.columns.source": "translation.fr"})
    corpus = open_corpus(files, tmp_path / "_run", here)
    columns = ["translation.en", "translation", "translation.de"]
    table = read_shard(corpus.plan(99)[0], corpus.schema, columns)
    assert table.column_names == columns
    assert table["translation.en"].to_pylist() == ["zero", None, None, "one", None, None]
    assert table["translation.de"].to_pylist() == ["null", None, None, "eins", None, "x"]
    assert table["translation"].to_pylist()[3] == {"en": "one", "de": "eins"}


def test_a_name_with_dots_of_its_own_comes_first(tmp_path: Path) -> None:
    table = pa.table({"a.b": ["name"], "a": [{"b": "field", "c.d": {"e": "deep"}}]})
    pq.write_table(table, tmp_path / "a.parquet")
    corpus = open_corpus(find_files(str(tmp_path)), tmp_path / "_run", here)
    assert read_shard(corpus.plan(9)[0], corpus.schema, ["a.b"])["a.b"].to_pylist() == ["name"]
