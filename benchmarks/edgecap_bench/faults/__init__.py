"""Faults while a listener runs, and what becomes of its events."""
