"""Checks the chosen translations of a shard, and changes the status of those that fail."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

from routelmt_ray.checks.checker import Checker
from routelmt_ray.checks.plan import CheckedOutput, CheckPlan, Finding
from routelmt_ray.config import schema
from routelmt_ray.config.checks import CHECKS, COLUMN, ESCALATE
from routelmt_ray.config.common import EACH, ONCE
from routelmt_ray.corpus.languages import pair_label
from routelmt_ray.corpus.shard_reader import read_shard
from routelmt_ray.engines.prompts import load_family
from routelmt_ray.runtime.context import RunContext, from_item
from routelmt_ray.stages.chosen import NO_TRANSLATION, Translated, Translation, Translations
from routelmt_ray.stages.validate import language_codes, needed_columns, strings

Findings = dict[str, Finding]


def output_columns(plan: CheckPlan, duplicates: str = EACH, memory: bool = False) -> pa.Schema:
    """Lists the columns that the translate job adds to those of the corpus, with or without a memory of translations."""
    measures = [pa.field(COLUMN + name, pa.float32()) for name in plan.columns]
    more = [schema.DUPLICATE_OF] * (duplicates == ONCE) + [schema.FROM_MEMORY] * memory
    return pa.schema([*schema.OUTPUT_COLUMNS, *more, *measures])


@dataclass(frozen=True)
class CheckedShard:
    """The findings of the checks in a shard."""

    measures: dict[str, list[float | None]]
    """Columns of the output with measures; null where a check gives no verdict."""
    counts: dict[str, dict[str, dict[str, list[int]]]]
    """Rows that failed and rows with a verdict, by check, model and language pair."""


def chosen_outputs(
    context: RunContext, columns: Mapping[str, Sequence[Any]], table: pa.Table
) -> Iterator[tuple[int, CheckedOutput]]:
    """Yields row number and texts of each row that a model has translated; `columns` has translation, model and status."""

    @cache
    def about(source: str, target: str, size: str) -> tuple[str, str]:
        family = load_family(context.model(size).prompt)
        terms = [("", "")] if context.glossary.terms else []  # a row may have none: then it does not repeat that part
        source_name, target_name = map(str, family.names(source, target))
        return pair_label(source, target), family.render("", source_name, target_name, terms)

    sources = strings(table[context.input.columns.source])
    pairs = zip(*language_codes(table, context.input))
    for row, (source, pair, text, size, status) in enumerate(
        zip(sources, pairs, columns["translation"], columns["model"], columns["status"])
    ):
        if status in schema.TRANSLATED and text is not None and source is not None:
            one, other = pair[0] or "", pair[1] or ""
            label, prompt = about(one, other, size)
            yield row, CheckedOutput(source, text, one, other, label, prompt)


class CheckRows:
    """Checks the chosen translations of a shard."""

    def __init__(self, context: RunContext, plan: CheckPlan) -> None:
        self._context, self._plan, self._checker = context, plan, Checker(plan)
        statuses = {CHECKS[name].status for name in plan.actions}
        self.delivered = frozenset({*schema.DELIVERED, *statuses} - plan.quarantines)
        """Statuses of rows with a text in the output."""

    def __call__(self, columns: dict[str, list[Any]], table: pa.Table, small: Translations) -> CheckedShard:
        """Checks the rows, and changes translation, model, `status` and `error` of those that fail.

        A large translation that fails a check with the action `escalate` gives way to a small one that fails fewer checks.
        """
        found = CheckedShard({COLUMN + name: [None] * table.num_rows for name in self._plan.columns}, {})
        if not self._plan.actions:
            return found
        for row, output in chosen_outputs(self._context, columns, table):
            findings = self._findings(output, columns["status"][row])
            if (
                columns["model"][row] == schema.LARGE
                and self._escalates(findings)
                and small.get(row, NO_TRANSLATION)[0] is not None
            ):
                findings = self._better(columns, row, output, findings, small[row])
            for name, finding in findings.items():
                by_pair = found.counts.setdefault(name, {}).setdefault(columns["model"][row], {})
                count = by_pair.setdefault(output.pair, [0, 0])
                count[0] += finding.failed
                count[1] += 1
                if COLUMN + name in found.measures:
                    found.measures[COLUMN + name][row] = finding.measure
            if verdict := self._checker.verdict(findings):
                columns["status"][row], words = verdict
                columns["error"][row] = "; ".join(filter(None, [words, columns["error"][row]]))
        return found

    def _findings(self, output: CheckedOutput, status: str) -> Findings:
        return self._checker.findings(output, whole=status != schema.TRUNCATED)

    def _escalates(self, findings: Findings) -> bool:
        return any(finding.failed and self._checker.actions[name] == ESCALATE for name, finding in findings.items())

    def _better(
        self, columns: dict[str, list[Any]], row: int, output: CheckedOutput, findings: Findings, small: Translation
    ) -> Findings:
        """Replaces a large translation by the small one if that fails fewer checks; returns the findings of the one kept."""
        text, status, error = small
        others = self._findings(output._replace(translation=str(text)), status)
        if _failed(others) >= _failed(findings):
            return findings
        verdict = self._checker.verdict(findings)
        assert verdict is not None
        columns["translation"][row], columns["model"][row], columns["status"][row] = text, schema.SMALL, status
        columns["error"][row] = "; ".join(filter(None, [error, f"large: {verdict[1]}"]))
        return others


def _failed(findings: Findings) -> int:
    return sum(finding.failed for finding in findings.values())


class FindFailing:
    """Commits the places of the rows of a shard whose translation is missing or fails a check that escalates.

    The plan gives some of them to the other model, before the merge chooses. Reads: an item of work. Writes: shard, rows.
    """

    def __init__(self, context: RunContext, translated: Translated, checks: CheckPlan, stage: str) -> None:
        self._context, self._translated, self._checker, self._stage = context, translated, Checker(checks), stage

    def __call__(self, item: pa.Table) -> pa.Table:
        context, shard = self._context, from_item(item)
        columns = self._translated(context, shard)
        table = read_shard(shard, context.schema, needed_columns(context.input))
        failing = [row for row, status in enumerate(columns["status"]) if status and status not in schema.TRANSLATED]
        for row, output in chosen_outputs(context, columns, table):
            if self._checker.failed(output, whole=columns["status"][row] != schema.TRUNCATED):
                failing.append(row)
        places = pa.array([shard.first_place + row for row in sorted(failing)], pa.int64())
        meta = {"rows": shard.rows, "failing": len(failing)}
        context.run.commit(self._stage, shard.index, pa.table({"place": places}), meta)
        return pa.table({"shard": [shard.index], "rows": [shard.rows]})
