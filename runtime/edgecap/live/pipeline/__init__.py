"""One stream between its source and its events: log-mel, level, gate, hop, captions thread."""
