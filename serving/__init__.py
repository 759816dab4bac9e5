"""Everything between HTTP and the model."""
