"""Where jobs run: what every cluster can do, and each kind of cluster."""
