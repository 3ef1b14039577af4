"""Recognises the format of a file or line that is neither JSON Lines nor Parquet, and says how to convert it, for
messages."""

import codecs
import itertools
import json
import os
import stat

from routelmt_ray import storage
from routelmt_ray.corpus import jsonl

_HEAD_BYTES = 1 << 16
_POINTER_BYTES = 1024
_GIT_LFS = b"version https://git-lfs.github.com/spec/"
_MAGIC = {
    _GIT_LFS: "a Git LFS pointer in place of the file; fetch the file with `git lfs pull`",
    b"PAR1": "Parquet; its name must end in .parquet",
    b"\x1f\x8b": "compressed by gzip; its name must end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; its name must end in .zst",
    b"BZh": "compressed by bzip2; its name must end in .bz2",
    b"\xfd7zXZ": "compressed by xz; its name must end in .xz",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"ARROW1": "Arrow IPC; write it as Parquet, e.g. with pyarrow.parquet.write_table",
    b"<": "HTML or XML; was a page saved in place of the file?",
}
_UTF_16 = "UTF-16"
_ENCODING = "in {} instead of UTF-8; convert it, e.g. with `iconv -f {} -t UTF-8`"
_CSV = "CSV or another table of plain text; write it as Parquet, e.g. with DuckDB: COPY (FROM 'a.csv') TO 'a.parquet'"
_ONE_VALUE = "one JSON value over many lines; write an object to each line, e.g. with `jq -c '{}'`"


def pointer(path: str) -> str | None:
    """Describes a file of this machine that is a Git LFS pointer in place of a large file; None for other files."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _POINTER_BYTES:
            return None
        with open(path, "rb") as source:
            return _MAGIC[_GIT_LFS] if source.read(len(_GIT_LFS)) == _GIT_LFS else None
    except FileNotFoundError:
        return None  # the later reader reports it


def why_no_lines(path: str) -> str | None:
    """Explains from its beginning why a file is not JSON Lines; None where it may be."""
    lines = list(itertools.islice(jsonl.lines(path, [], _HEAD_BYTES), 100))
    if not lines:
        return None
    if not lines[0].lstrip().startswith(b"[") and any(jsonl.parse(line) is not None for line in lines):
        return None
    if len(lines[0]) >= _HEAD_BYTES and lines[0].lstrip()[:1] == b"{":
        return None  # a long object
    return describe_head(b"\n".join(lines))


def describe_file(path: str) -> str:
    """Describes the format of a file that is neither Parquet nor JSON Lines, and how to convert it."""
    with storage.open_file(storage.path(path)) as source:
        return describe_head(source.read(_HEAD_BYTES))


def describe_head(head: bytes) -> str:
    """Describes the format of a file without any JSON object on a line, from its beginning, and how to convert it."""
    for magic, words in _MAGIC.items():
        if head.lstrip().startswith(magic):
            return words
    if (encoding := _encoding(head)) is not None:
        return ("" if encoding == _UTF_16 else "perhaps ") + _ENCODING.format(encoding, encoding)
    first, _, rest = head.lstrip().partition(b"\n")
    if first[:1] == b"[":
        return _ONE_VALUE.format(".[]")
    if first.strip() == b"{" or (first[:1] == b"{" and rest.lstrip()[:1] in (b'"', b"}")):
        return _ONE_VALUE.format(".")
    if any(mark in first for mark in (b",", b"\t", b";")) and first[:1] != b"{":
        return _CSV
    return "text without a JSON object on any line; write an object to each line, or Parquet"


def why_no_object(line: bytes) -> str:
    """Explains why a line is not a JSON object."""
    if (encoding := _encoding(line)) is not None:
        return f"the input line is {'' if encoding == _UTF_16 else 'perhaps '}in {encoding}, not in UTF-8"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "the input line is not JSON"
    if not isinstance(value, dict):
        return "the input line is JSON, but not an object"
    return "the input line has half of a surrogate pair"


def _encoding(text: bytes) -> str | None:
    """The likely encoding of text that is not UTF-8; None for UTF-8."""
    if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or text.count(b"\0") * 3 > len(text):
        return _UTF_16
    try:
        codecs.getincrementaldecoder("utf-8")("surrogatepass").decode(text)  # a character may be cut at the end
    except UnicodeDecodeError:
        return "ISO-8859-1"
    return None
