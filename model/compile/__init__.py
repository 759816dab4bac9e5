"""What only `python -m model.compile` runs."""
