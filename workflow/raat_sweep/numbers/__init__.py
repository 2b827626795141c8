"""From records and histories to accuracies, means and what is derived from them."""
