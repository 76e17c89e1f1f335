"""Runs of several processes that train together."""
