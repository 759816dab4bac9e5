"""Uploads Miles to a Hugging Face Space; README.md describes the Space's settings."""
