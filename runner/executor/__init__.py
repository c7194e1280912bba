"""Run stages and cells in this process, and count the progress of a run for every executor."""
