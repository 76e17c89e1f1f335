"""Candidates against each other on the same clips."""
