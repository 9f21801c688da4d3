"""Scans, captures, and files taken elsewhere, into a session."""
