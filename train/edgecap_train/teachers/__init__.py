"""What teaches a student: HTSAT-BART, an audio tagger with captions of its own."""
