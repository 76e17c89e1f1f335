"""Captioning held-out recordings and scoring the captions."""
