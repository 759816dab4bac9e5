"""Builds the container image and tries it for real: `python -m tests.container --help`."""
