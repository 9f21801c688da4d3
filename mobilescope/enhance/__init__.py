"""Tiled inference with a trained network."""
