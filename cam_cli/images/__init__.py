"""Bytes to arrays: find image files, decode them as a person sees them, and fit them to a network's input."""
