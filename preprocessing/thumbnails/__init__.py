"""Everything that opens outgoing connections."""
