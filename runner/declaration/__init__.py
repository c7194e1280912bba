"""The declared fields of a study: plain fields, hyperparameter points, search and resources."""
