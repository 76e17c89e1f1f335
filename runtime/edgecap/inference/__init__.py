"""Graphs to words: the runtimes behind one interface, beam search, token ids to text."""
