"""Attacks: projected gradient descent in both balls, and AutoAttack."""
