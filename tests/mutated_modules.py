"""The modules `make mutants` changes, and the tests that should notice it: quick ones, without Ray."""

_SELECTION = [f"tests/budget/test_{name}.py" for name in ("cut", "keys", "histogram", "search", "selection")]
_STRATA = ["tests/budget/test_strata.py"]
_ROUTES = ["tests/stages/test_routes.py"]
_CHECKS = ["tests/checks/test_checks.py", "tests/checks/test_planted.py"]
_READERS = [f"tests/corpus/test_{name}.py" for name in ("jsonl", "corpus", "fuzz_readers")]

TESTS: dict[str, list[str]] = {
    **{f"routelmt_ray/budget/{name}.py": _SELECTION for name in ("cut", "digits", "histogram", "keys", "search")},
    "routelmt_ray/budget/strata.py": _STRATA,
    "routelmt_ray/budget/strata_search.py": _STRATA,
    "routelmt_ray/budget/fraction.py": ["tests/budget/test_fraction.py"],
    "routelmt_ray/budget/risk.py": ["tests/budget/test_risk.py"],
    "routelmt_ray/budget/cost.py": ["tests/budget/test_cost.py", "tests/budget/test_mix.py"],
    "routelmt_ray/budget/cost_fit.py": ["tests/budget/test_cost.py", "tests/budget/test_mix.py"],
    "routelmt_ray/budget/rate_fit.py": ["tests/budget/test_rate_fit.py"],
    "routelmt_ray/budget/closed_loop.py": ["tests/budget/test_closed_loop.py"],
    "routelmt_ray/plan/ledger.py": ["tests/plan/test_ledger.py"],
    "routelmt_ray/budget/rule.py": [*_ROUTES, "tests/budget/test_rule.py"],
    "routelmt_ray/stages/routes.py": _ROUTES,
    "routelmt_ray/plan/allocate.py": [*_ROUTES, "tests/plan/test_tally.py"],
    **{f"routelmt_ray/account/{name}.py": ["tests/account/test_price.py"] for name in ("offer", "price", "rhythm")},
    **{
        f"routelmt_ray/checks/{name}.py": _CHECKS
        for name in ("checker", "copied", "language", "leak", "length", "protected", "repetition", "spans")
    },
    "routelmt_ray/stages/validate.py": ["tests/stages/test_validate.py"],
    "routelmt_ray/corpus/shards.py": ["tests/corpus/test_shards.py", "tests/corpus/test_repeats.py"],
    **{
        f"routelmt_ray/{name}.py": ["tests/corpus/test_repeats.py", "tests/stages/test_repeats.py"]
        for name in ("corpus/repeats", "stages/exchange", "stages/repeats", "stages/shared")
    },
    "routelmt_ray/corpus/memory.py": ["tests/corpus/test_memory.py"],
    "routelmt_ray/stages/memory.py": ["tests/stages/test_memory.py"],
    "routelmt_ray/corpus/pieces.py": ["tests/corpus/test_pieces.py"],
    "routelmt_ray/corpus/languages.py": ["tests/corpus/test_languages.py"],
    "routelmt_ray/engines/prompts.py": ["tests/engines/test_prompts.py", "tests/engines/test_prompt_ids.py"],
    "routelmt_ray/corpus/jsonl.py": _READERS,
    "routelmt_ray/metrics/measures.py": ["tests/evaluation/test_measures.py"],
    "routelmt_ray/metrics/ties.py": ["tests/evaluation/test_measures.py", "tests/evaluation/test_bootstrap.py"],
    "routelmt_ray/evaluation/bootstrap.py": ["tests/evaluation/test_bootstrap.py"],
    "routelmt_ray/router/calibration.py": ["tests/router/test_calibration.py"],
    "routelmt_ray/router/ridge.py": ["tests/router/test_ridge.py"],
    "routelmt_ray/corpus/sampling.py": ["tests/router/test_sampling.py"],
    "routelmt_ray/corpus/splits.py": ["tests/router/test_splits.py"],
}
