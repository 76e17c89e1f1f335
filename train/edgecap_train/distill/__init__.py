"""One training run of a student: recipe, augmentation, losses, loop, run folder."""
