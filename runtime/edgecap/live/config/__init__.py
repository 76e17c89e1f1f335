"""What `edgecap listen` can be told, as dataclasses and as a TOML file."""
