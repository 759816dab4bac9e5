"""From predictions to figures: scores of a checkpoint and of simple methods, by what is known."""
