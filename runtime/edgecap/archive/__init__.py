"""Captions of whole collections of sound as Parquet: made in fixed shards, each once, on one process or many."""
