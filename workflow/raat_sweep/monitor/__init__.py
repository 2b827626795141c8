"""The status of every cell of a sweep, from files alone."""
