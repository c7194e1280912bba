"""A whole run: what is left, who works on it, what it did."""
