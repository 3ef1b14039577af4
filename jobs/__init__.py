"""The jobs, a file each, to be read from top to bottom: `python jobs/translate.py`, or `routelmt translate` once installed."""
