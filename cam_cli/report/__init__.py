"""Finished runs shown to people: one self-contained HTML file."""
