"""The model bundle on disk: manifest, hashes, and where models are found."""
