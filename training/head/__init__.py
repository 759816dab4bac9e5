"""From vectors to the weights of a trained head."""
