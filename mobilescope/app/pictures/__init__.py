"""Pictures read, developed and written: files, their notes, and the light that captures are corrected by."""
