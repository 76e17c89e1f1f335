"""Sound to log-mel: files, sample rates, windows, the front end, microphones."""
