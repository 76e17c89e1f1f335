"""`edgecap train` and `edgecap evaluate`."""
