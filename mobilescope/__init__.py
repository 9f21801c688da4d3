"""Mobilescope: benchtop-quality microscopy from a phone, with every step measured."""

__version__ = "0.1.0"
