"""The jobs, one file each. Run `python jobs/translate.py`, or `routelmt translate` once the package is installed."""
