"""The decoders behind `edgecap.audio.file`: libsndfile, and FFmpeg for everything that libsndfile cannot read."""
