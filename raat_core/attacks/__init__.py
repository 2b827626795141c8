"""Attacks: projected gradient descent in both balls, AutoAttack, and two of its attacks alone."""
