"""Maps to pictures: colour maps, registration, overlays, contact sheets. NumPy, Pillow and cmap only."""
