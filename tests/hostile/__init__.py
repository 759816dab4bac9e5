"""The long suite: what Miles promises to survive, measured. `make hostile` prints the table."""
