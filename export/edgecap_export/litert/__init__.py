"""Lowering to LiteRT."""
