"""Settings of the attacks that run by their authors' package, a file per attack."""
