"""Tiles put together into mosaics, and mosaics written for other programs."""
