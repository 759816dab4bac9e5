"""From rows to the frozen encoders' vectors."""
