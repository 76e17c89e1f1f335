"""Training material: the pool of sounds, composed scenes, targets, shards, batches."""
