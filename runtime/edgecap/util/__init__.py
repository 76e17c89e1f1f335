"""Helpers without a subject of their own: files, addresses, durations, quiet libraries."""
