"""A rule as it starts: what is off, and which guards judge first."""

from routelmt_ray.budget.cut import Cut
from routelmt_ray.budget.rule import Band, Rule


def test_a_rule_begins_without_strata_costs_or_decisions() -> None:
    rule = Rule()
    assert (rule.stratified, rule.both, rule.cost, rule.decisions, rule.judges_first) == (False, False, None, (), False)


def test_a_band_has_the_costs_of_the_profile_until_they_are_measured() -> None:
    band = Band(Cut(k=1, weight=1, n_eligible=2, threshold=0.5, tie=None))
    assert band.scales == (1.0, 1.0)
    assert Band.from_dict(band.to_dict()) == band


def test_only_a_guard_that_needs_a_judgement_judges_first() -> None:
    assert Rule(guards=(("quality_hypo", 0.5),)).judges_first
    assert not Rule(guards=(("quality_predict", 0.5),)).judges_first
