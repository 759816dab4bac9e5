"""Scores files of any size once, on every core there is, with Ray Data; `python -m deploy.score_dataset`."""
