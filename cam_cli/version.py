"""The version of smoothcam, and of the engine whose numbers its manifests carry."""

__version__ = "0.2.0"
