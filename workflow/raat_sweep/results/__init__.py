"""What lies in a results folder while others write to it."""
