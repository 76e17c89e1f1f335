"""Captions of bundles scored against human ones."""
