"""From a file to rows."""
