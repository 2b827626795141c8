"""Handing a trained model on: its weights, its network or its graph, and a model card beside."""
