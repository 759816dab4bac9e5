"""The owner's own training file: it is scored with the inputs that it was trained on."""
