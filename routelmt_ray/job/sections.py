"""Works over the sections of a corpus, for the jobs that translate a repeated segment once."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import pyarrow as pa

from routelmt_ray.config.common import ONCE, InputConfig
from routelmt_ray.corpus.repeats import Sections
from routelmt_ray.corpus.shards import ShardPlan
from routelmt_ray.runtime import pipelines
from routelmt_ray.runtime.context import to_item


def sections_of(asked: InputConfig, shards: ShardPlan) -> Sections | None:
    """Cuts the corpus into the sections that look for repeats; None where they are translated like other rows."""
    return Sections.of(shards) if asked.duplicates == ONCE else None


def section_works(
    title: str, shards: ShardPlan, sections: Sections, steps: Mapping[str, Callable[[pa.Table], pa.Table]]
) -> Iterator[pipelines.Work]:
    """Gives the works of some steps, by the stages that they commit to, over sections; each needs those before it."""
    rows = {number: sections.section(shards, number).rows for number in range(sections.count)}
    for stage, step in steps.items():
        pipeline = partial(pipelines.on_tasks, stage=step, first=True)
        yield pipelines.Work.of_stage(
            title, stage, rows, lambda number: to_item(sections.section(shards, number)), pipeline
        )
        rows = dict.fromkeys(rows, 0)  # each row of the corpus is counted once
