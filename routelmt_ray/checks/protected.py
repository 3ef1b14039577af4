"""Checks whether a translation holds the parts of its source that must stay as they are, as often as the source."""

from routelmt_ray.checks.plan import Check, CheckedOutput, CheckPlan, Finding
from routelmt_ray.checks.spans import badly_nested, find_spans

_MAY_BE_ADDED = ("numbers",)
"""A translation may write a number in digits that is a word in the source."""


def open_check(plan: CheckPlan) -> Check:
    """Opens the check. A source without such parts gets no verdict, unless the translation has some."""
    kinds = plan.protect

    def check(output: CheckedOutput) -> Finding | None:
        wanted, there = find_spans(output.source, kinds), find_spans(output.translation, kinds)
        if not wanted and not there:
            return None
        lost = wanted - there
        added = {span: n for span, n in (there - wanted).items() if span[0] not in _MAY_BE_ADDED}
        notes = [f"{'loses' if some is lost else 'adds'} {text!r}" for some in (lost, added) for _, text in some]
        if "tags" in kinds and (tag := badly_nested(output.translation)) and not badly_nested(output.source):
            notes.append(f"<{tag}> is badly nested")
        found = sum(lost.values()) + sum(added.values()) + (len(notes) > len(lost) + len(added))
        return Finding(float(found), bool(notes), ", ".join(notes[:3])[:200])

    return check
