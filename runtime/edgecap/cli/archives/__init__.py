"""The commands for archives of captions."""
