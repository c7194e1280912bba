"""How long a large study takes on many GPUs, by the real scheduler on a virtual clock.

``clock`` is an event loop whose time jumps to the next event; ``cluster`` stands in for Ray's nodes, tasks and actors;
``paper`` is the study; ``simulation`` runs the real broker, pools and plan on them; ``__main__`` prints the table.

    python -m benchmarks.scheduling --gpus 1,8,64,512
"""
