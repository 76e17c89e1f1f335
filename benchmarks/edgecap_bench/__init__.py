"""edgecap_bench: speed, size, memory and quality of bundles, measured. May import every other folder."""
