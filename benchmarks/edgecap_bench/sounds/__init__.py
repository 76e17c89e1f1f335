"""Taught sounds: the bank of unrelated sounds that the package ships, and how many are recognised."""
