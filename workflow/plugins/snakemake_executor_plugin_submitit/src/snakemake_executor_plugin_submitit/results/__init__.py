"""What jobs left when they ended: results, logs, and how it is judged."""
