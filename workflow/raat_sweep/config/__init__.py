"""What a config may say, and reading it."""
