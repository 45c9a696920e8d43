"""Run folders to figures: how far maps can be trusted, and what changed between two runs."""
