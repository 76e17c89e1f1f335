"""edgecap: says in one sentence what a microphone hears."""
