"""The training loop: one step, one epoch, one cell; its state and how it is resumed."""
