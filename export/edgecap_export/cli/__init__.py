"""`edgecap export` and `edgecap import`."""
