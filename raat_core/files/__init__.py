"""Files that are whole or not there, what they hold, and what made it."""
