"""Scores whole files or tables on all cores with Ray Data: `./miles score-dataset`."""
