"""Stages of a job: each reads shard files and commits shard files. Only repeats are exchanged between shards, through files."""
