"""What cells cost, in operations and in seconds, for plans."""
