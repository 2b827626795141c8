"""What the head process does: it submits jobs, watches them, and stops."""
