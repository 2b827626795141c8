"""`python -m raat_core check`: a plugin's extensions are tried on a few images of digits."""
