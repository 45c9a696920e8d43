"""Images and results that are not on this machine: objects of a store, by their URLs."""
