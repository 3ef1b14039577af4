"""A scored corpus for the tests of plans."""

from pathlib import Path

import pytest

from tests.plan.planners import Scored
from tests.stages.scored import scored_corpus


@pytest.fixture
def scored(tmp_path: Path) -> Scored:
    """A scored corpus."""
    return scored_corpus(tmp_path)
