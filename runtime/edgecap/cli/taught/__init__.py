"""The commands for sounds that the user teaches."""
