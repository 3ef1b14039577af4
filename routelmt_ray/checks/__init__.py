"""Checks of translations: pure functions of a source and its translation, each with a measure and a verdict."""
