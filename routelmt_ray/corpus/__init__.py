"""The corpus: its files, its one schema, its shards, and reading its rows even where some are damaged."""
