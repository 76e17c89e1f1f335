"""How probable it is that a caption is right: what is fitted beside a model, after its training."""
