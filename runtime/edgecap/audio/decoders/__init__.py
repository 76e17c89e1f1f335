"""Behind `edgecap.audio.file`: one decoder for what libsndfile reads, one for what it cannot."""
