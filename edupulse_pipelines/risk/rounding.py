"""To how many places the room rounds what it stores and hashes, so that both databases and all machines agree."""

DIGITS = 6
"""Decimal places of probabilities, metrics and hashed features."""
