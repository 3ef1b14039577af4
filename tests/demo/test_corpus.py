"""The command that writes a corpus of the demo."""

import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from routelmt_ray.demo import corpus


def test_it_writes_the_rows_it_was_asked_for(tmp_path, capsys):
    assert corpus.main(["--out", str(tmp_path), "--rows", "300", "--seed", "5", "--files", "2"]) == 0
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["test-000.parquet", "test-001.parquet"]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert rows == corpus.rows("test", 300, 5)
    assert tuple(rows[0]) == corpus.COLUMNS
    assert "300 rows of test" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--rows", "0"], ["--rows", "3", "--files", "4"]])
def test_it_refuses_impossible_sizes(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        corpus.main(["--out", str(tmp_path), *arguments])
    assert stop.value.code == 2
    assert "must be" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_it_imports_neither_torch_nor_ray():
    code = (
        "import sys, routelmt_ray.demo.corpus; print([m for m in ('torch', 'ray', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
