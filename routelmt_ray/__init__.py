"""Budget-aware hybrid machine translation on Ray: a small model everywhere, a large one where it pays."""

__version__ = "0.2.0"
