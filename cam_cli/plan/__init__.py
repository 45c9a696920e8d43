"""What a run asks, resolved once: model identity, layers, targets, settings, fingerprint; and the cache."""
