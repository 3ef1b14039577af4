"""Configuration: typed sections with bounds and help, read from YAML and overrides."""
