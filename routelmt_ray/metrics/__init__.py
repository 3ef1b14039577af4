"""Quality metrics on the 0–1 scale, so that a gain is in the same unit whatever the metric."""
