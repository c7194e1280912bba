"""Check whether a machine has everything that a study needs, and download the missing parts."""
