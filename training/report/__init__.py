"""A page of figures about how good a checkpoint is."""
