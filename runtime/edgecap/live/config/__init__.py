"""The configuration of `edgecap listen`, as dataclasses and as a TOML file."""
