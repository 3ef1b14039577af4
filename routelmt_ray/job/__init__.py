"""What surrounds a pipeline: checks before Ray starts, the manifest, exit statuses, each job's setup."""
