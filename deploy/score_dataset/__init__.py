"""Scores whole files or tables on all cores with Ray Data: `python -m deploy.score_dataset`."""
