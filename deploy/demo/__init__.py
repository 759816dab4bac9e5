"""`make demo`: the service, a database and the scraper's step together, on example rows."""
