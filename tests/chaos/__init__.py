"""Seeded faults against a real study on a real Ray cluster of several nodes, all of it processes of this machine.

``python -m tests.chaos --seeds 0-19`` runs a schedule of faults for each seed, repeats the same command until the study
is done, and compares what is left with an undisturbed run. ``world`` holds the study, the cluster and the driver;
``faults`` lists what is done to them; ``schedules`` draws them from a seed; ``checks`` compares; ``runs`` puts these
together; ``tables`` writes the counts into docs/reliability.md.
"""
