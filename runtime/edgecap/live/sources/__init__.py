"""Where live sound comes from: microphones, files, pipes."""
