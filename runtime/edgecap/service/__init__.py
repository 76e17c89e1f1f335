"""edgecap as a systemd service: the unit file, and the systemctl calls that install it."""
