"""Speed and memory of one model."""
