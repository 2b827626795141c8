"""What serves CPUs alone."""
