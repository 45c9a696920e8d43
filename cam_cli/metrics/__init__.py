"""Metrics of saliency maps: arrays to figures, NumPy alone. A metric's row in the table and its function share a module."""
