"""JSON Lines: what is a row, what a compressed file holds, and what many keys cost."""

import gzip
import json
import zlib
from pathlib import Path
from random import Random
from typing import Any

import pytest
import zstandard

from routelmt_ray.corpus import jsonl
from routelmt_ray.corpus.corpus import open_corpus
from routelmt_ray.corpus.input_files import find_files
from routelmt_ray.corpus.shard_reader import read_shard


def here(function: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    return [function(*words) for words in arguments]


def rows(folder: Path, *columns: str) -> list[dict[str, Any]]:
    """All rows of the files in a folder."""
    corpus = open_corpus(find_files(str(folder)), folder / "_run", here)
    names = columns or (*corpus.schema.names, jsonl.BAD_LINE)
    plan = corpus.plan(1_000)
    return [row for i in range(len(plan)) for row in read_shard(plan[i], corpus.schema, names).to_pylist()]


@pytest.mark.parametrize(
    "line",
    [
        b'{"source": "\xed\xa0\xbd"}',  # half of a character outside the basic plane, as bytes
        b'{"source": "good", "\xed\xa0\xbd": 1}',
        b'{"source": {"\xed\xb2\x80": ["\xed\xa0\xbd"]}}',
        b'{"source": "good", "\\udc00": 1}',
        b'{"source": ["good", {"\\ud83d": 1}]}',
        '{"source": "good"}'.encode("utf-16-le"),
    ],
)
def test_half_a_character_in_a_value_or_a_key_is_one_bad_line(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"source": "first"}\n' + line + b'\n{"source": "\\ud83d\\ude00 last"}\n')
    assert rows(tmp_path) == [
        {"source": "first", jsonl.BAD_LINE: None},
        {"source": None, jsonl.BAD_LINE: line},
        {"source": "😀 last", jsonl.BAD_LINE: None},
    ]


def test_staging_ends_where_a_column_fits_no_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time fewer columns can become text; one that does not fit even as text is named."""
    (tmp_path / "a.jsonl").write_text('{"source": "x", "n": 1}\n')
    tried = []

    def never(paths: list[str], schema: Any, target: Path) -> list[str]:
        tried.append(jsonl.text_names(schema))
        return ["n"]

    monkeypatch.setattr(jsonl, "stage", never)
    with pytest.raises(ValueError, match="values of 'n' cannot be kept, not even as text"):
        rows(tmp_path)
    assert tried == [set(), {"n"}]


@pytest.mark.parametrize("window_log", [27, 28, 31])
def test_zstd_with_a_long_window_is_read(tmp_path: Path, window_log: int) -> None:
    """A frame of one raw block, as `zstd --long=31` heads it; written by hand, as its compressor would take gigabytes."""
    line = b'{"source": "far"}\n'
    block = ((len(line) << 3) | 1).to_bytes(3, "little")  # the last one, raw
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(window_log - 10) << 3]) + block + line
    assert zstandard.get_frame_parameters(frame).window_size == 1 << window_log
    (tmp_path / "a.jsonl.zst").write_bytes(frame)
    damage: list[str] = []
    assert list(jsonl.lines(str(tmp_path / "a.jsonl.zst"), damage)) == [line.rstrip()]
    assert damage == []


@pytest.mark.parametrize(
    ("suffix", "first", "at"), [(".gz", 700, 40_000), (".gz", 5_000, 40_000), (".zst", 700, 30_000), (".gz", 700, 400)]
)
def test_all_before_the_damage_in_a_later_frame_is_read(tmp_path: Path, suffix: str, first: int, at: int) -> None:
    """The second frame begins anywhere in what is read at once, and is damaged far from there or near."""
    random = Random(first)
    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor(write_checksum=True).compress
    new: Any = (
        (lambda: zlib.decompressobj(wbits=31))
        if suffix == ".gz"
        else (lambda: zstandard.ZstdDecompressor().decompressobj())
    )
    texts = [b"".join(b"%x\n" % random.getrandbits(200) for _ in range(n // 50)) for n in (first, 100_000)]
    packed = bytearray(pack(texts[0])) + pack(texts[1])
    begin = len(packed) - len(pack(texts[1]))
    packed[begin + at : begin + at + 200] = random.randbytes(200)
    (tmp_path / f"a.jsonl{suffix}").write_bytes(packed)
    stream, readable = new(), b""
    for byte in packed[begin:]:
        try:
            readable += stream.decompress(bytes([byte]))
        except (zlib.error, zstandard.ZstdError):
            break
    else:
        pytest.fail("the damage was to be seen")
    damage: list[str] = []
    wanted = [line.rstrip(b"\r") for line in (texts[0] + readable).split(b"\n") if line.strip()]
    assert list(jsonl.lines(str(tmp_path / f"a.jsonl{suffix}"), damage)) == wanted
    assert len(damage) == 1
    assert len(readable) > at / 2


def test_json_text_is_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"v": {"größe": ["日本", null]}}\n{"v": "größe"}\n{"v": null}\n{}\n')
    assert [row["v"] for row in rows(tmp_path, "v")] == ['{"größe": ["日本", null]}', "größe", None, None]


def test_keys_that_differ_from_line_to_line_cost_what_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step looks at a column for a row that lacks it: values handed to Arrow are as many as the file has."""
    n, seen = 300, []
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"source": str(i), f"key {i}": i}) + "\n" for i in range(n)))
    plain = jsonl._column

    def counted(field: Any, numbers: list[int], values: list[Any], rows: int) -> Any:
        seen.append(len(values))
        return plain(field, numbers, values, rows)

    monkeypatch.setattr(jsonl, "_column", counted)
    found = rows(tmp_path)
    assert [{k: v for k, v in row.items() if v is not None} for row in found] == [
        {"source": str(i), f"key {i}": i} for i in range(n)
    ]
    assert sum(seen) == 2 * n


def test_keys_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MOST_COLUMNS", 3)
    (tmp_path / "a.jsonl").write_text('{"source": "x", "a": 1, "b": 1}\n')
    assert len(rows(tmp_path)) == 1
    (tmp_path / "_run" / "corpus.json").unlink()
    (tmp_path / "b.jsonl").write_text('{"c": 1}\n')
    with pytest.raises(ValueError, match="more than 3 different keys, a, b, c among them"):
        rows(tmp_path)
