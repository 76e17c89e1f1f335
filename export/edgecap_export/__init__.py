"""edgecap_export: checkpoints in, graphs out, each checked against PyTorch. Imports `edgecap_train` and `edgecap`."""
