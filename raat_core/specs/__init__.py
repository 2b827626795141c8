"""What a training is told whatever its method: threat model, recipe, precision. Needs no torch."""
