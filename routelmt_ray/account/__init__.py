"""One allowance for the jobs of a period: what tonight's job may take of it, and who has taken what."""
