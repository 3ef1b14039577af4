"""The work around a pipeline: checks before Ray starts, the manifest, exit statuses, the setup of each job."""
