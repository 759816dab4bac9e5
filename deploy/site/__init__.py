"""The documents as a web site with a search."""
