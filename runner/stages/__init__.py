"""What is computed once and kept in the store."""
