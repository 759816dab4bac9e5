"""Raw video to model input; the same code trains and serves."""
