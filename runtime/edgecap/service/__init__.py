"""edgecap as a service of systemd: the unit file, and the few calls of systemctl that put it to work."""
