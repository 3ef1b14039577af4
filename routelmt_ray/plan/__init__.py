"""Decisions of a budget: selections become plan entries, tranches and forecasts."""
