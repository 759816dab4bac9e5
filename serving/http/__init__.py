"""What runs once per HTTP request and knows HTTP."""
