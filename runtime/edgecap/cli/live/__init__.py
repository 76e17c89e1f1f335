"""The work of the command that listens."""
