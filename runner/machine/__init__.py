"""What a machine has and lacks for a study, and downloading what is missing."""
