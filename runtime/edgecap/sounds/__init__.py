"""Sounds that the user taught: what is stored of them, and how they are recognised in a window."""
