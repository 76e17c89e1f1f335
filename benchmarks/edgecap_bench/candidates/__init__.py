"""What can be compared: bundles, the published models, and how each is run."""
