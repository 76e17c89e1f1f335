"""The students in PyTorch: encoders, decoder, front end, search."""
