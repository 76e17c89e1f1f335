"""Bundles made of lowered graphs, compared and reported."""
