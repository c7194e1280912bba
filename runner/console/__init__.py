"""The output of a run, a plan and a download on a terminal."""
