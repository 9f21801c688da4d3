"""One module per real device."""
