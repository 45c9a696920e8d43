"""Where images are explained: in this process, or in actors on a Ray cluster."""
