"""smoothcam from Python: `call.explain` for images of any kind, the paper's own call, and the engine's `explain` for arrays."""

from cam_cli.api.arrays import explain, grad_cam_plus_smooth

__all__ = ["explain", "grad_cam_plus_smooth"]
