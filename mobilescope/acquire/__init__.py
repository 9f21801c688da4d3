"""Doing it: scans, autofocus, phone captures, written through a sink."""
