"""From the captions of windows to events with a beginning and an end."""
