"""Models from the net: downloads that are checked, and published checkpoints turned into bundles without PyTorch."""
