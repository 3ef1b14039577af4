"""What a budget decides: selections become plan entries, tranches and forecasts."""
