"""Outcomes of scored videos: predictions compared with later looks at the same videos."""
