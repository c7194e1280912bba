"""What a machine has, and how it gets what it lacks."""
