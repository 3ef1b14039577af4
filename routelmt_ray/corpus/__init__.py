"""The corpus: which files it has, its one schema, its shards, and reading rows whatever is damaged."""
