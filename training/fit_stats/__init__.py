"""Feature statistics for a checkpoint that lacks them, from the CSV it was trained on."""
