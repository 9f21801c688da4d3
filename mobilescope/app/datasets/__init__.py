"""Pairs of many sessions put together, described, and handed on."""
