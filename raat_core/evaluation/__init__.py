"""Accuracies on clean and attacked images, and the records that keep every sample's outcome."""
