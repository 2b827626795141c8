"""Tables: their layout and their files."""
