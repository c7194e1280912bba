"""Rows, scores and metrics of finished cells, and what is read out of them."""
