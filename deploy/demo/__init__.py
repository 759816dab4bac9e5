"""`make demo`: the service, a database, the web page and the scoring script together, on example rows."""
