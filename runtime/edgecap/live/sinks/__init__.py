"""Where events go: a module for each kind of sink; `base` has their interface."""
