"""Captions as text: tables, tokens, vocabulary, and the claims that captions make."""
