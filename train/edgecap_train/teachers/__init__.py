"""The teachers: HTSAT-BART, and an audio tagger with a captioner of its scores."""
