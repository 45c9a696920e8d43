"""Images read and decoded in processes that a bad file may hang or crash."""
