"""Work on many processes: a pool of workers on Ray, of this machine or of a cluster."""
