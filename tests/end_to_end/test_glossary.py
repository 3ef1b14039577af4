"""A glossary in a whole job: its terms are counted in the report, and another glossary repeats only the merge."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import Job
from tests.end_to_end.runs import ECHO


def test_the_report_says_which_share_of_the_terms_each_model_keeps(without_ray: None, job: Job, tmp_path: Path) -> None:
    texts = ["dog " * (i + 1) + ("cat" if i % 2 else "") for i in range(40)]
    pq.write_table(pa.table({"source": texts}), tmp_path / "in.parquet")
    glossary = tmp_path / "terms.csv"
    glossary.write_text("source,target,pair\ndog,dog,\ncat,Katze,en->de\nbird,bird,\n")
    words = [
        *ECHO, f"input.path={tmp_path / 'in.parquet'}", "input.shard_rows=16", "router.kind=length", "budget.rows=10",
        "checks.copy.action=flag",  # a term counts also where a check finds a fault
    ]  # fmt: skip
    ended = job.run(*words, f"glossary.path={glossary}")
    # The large model has the ten longest rows, and every second row has a cat, which both models leave as it is.
    terms = [
        {"pair": "en→de", "model": "small", "kept": 30, "terms": 45},
        {"pair": "en→de", "model": "large", "kept": 10, "terms": 15},
    ]
    assert job.report()["terms"] == terms
    assert set(job.output()["status"].to_pylist()) == {"ok", "copied_source"}
    assert "glossary     66.7 % of 60 terms kept: small 66.7 %, large 66.7 %" in ended.stdout
    page = (job.run_dir / "report.html").read_text()
    assert "Terms of the glossary" in page and '<td class="r">45</td><td class="r">30</td>' in page
    translated = {
        path: path.stat().st_mtime_ns for name in ("small", "large") for path in (job.run_dir / name).rglob("*")
    }
    assert "nothing to do" in job.run(*words, f"glossary.path={glossary}").stderr

    glossary.write_text("source,target\ncat,cat\n")
    job.run(*words, f"glossary.path={glossary}")
    assert [(found["kept"], found["terms"]) for found in job.report()["terms"]] == [(15, 15), (5, 5)]
    ended = job.run(*words)
    assert job.report()["terms"] == [] and "glossary" not in ended.stdout
    assert "Terms of the glossary" not in (job.run_dir / "report.html").read_text()
    assert translated == {path: path.stat().st_mtime_ns for path in translated}


def test_a_glossary_that_cannot_be_read_is_refused_before_ray_starts(
    no_cluster: None, job: Job, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"source": ["a"]}), tmp_path / "in.parquet")
    words = [*ECHO, f"input.path={tmp_path / 'in.parquet'}", "router.kind=length", "budget.rows=1"]
    assert "is no file of this machine" in job.run(*words, "glossary.path=no/where.csv", check=2).stderr
