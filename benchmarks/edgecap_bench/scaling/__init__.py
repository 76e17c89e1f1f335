"""How time and memory grow with sound, beams and tokens."""
