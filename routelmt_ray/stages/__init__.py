"""Stages of a job: each reads shard files and commits shard files, and never exchanges rows between shards."""
