"""Sources of live sound: microphones, files, pipes."""
