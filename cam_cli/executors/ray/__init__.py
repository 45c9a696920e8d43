"""Images explained in actors on a Ray cluster."""
