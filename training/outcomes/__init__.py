"""What became of scored videos: predictions beside later looks at the same videos."""
