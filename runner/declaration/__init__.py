"""What a study declares: plain fields, its hyperparameter points, its search and its resources."""
