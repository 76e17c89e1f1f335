"""Training of the teachers themselves."""
