"""Ray and processes: the cluster, pipelines, hosts of engines, metering, progress, signals."""
