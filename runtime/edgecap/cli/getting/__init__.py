"""The commands that get models, and those for the models that are there."""
