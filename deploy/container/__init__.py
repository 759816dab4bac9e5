"""Builds the container image and tries it for real: `python -m deploy.container --help`."""
