"""A page with pictures of how good a checkpoint is, for a person who would rather look than read."""
