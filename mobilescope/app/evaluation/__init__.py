"""Blind evaluation: scores, measurements, tables and the report."""
