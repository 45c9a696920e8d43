"""The device that TensorFlow computes on."""

import tensorflow as tf

from cam_cli.errors import UsageError


def choose_device(name: str) -> None:
    """Make TensorFlow compute on one device, in full float32. Call it before TensorFlow first computes in this process.

    GPU memory is allocated as it is needed. TensorFloat-32 is switched off, because maps would differ between machines in the
    third digit.

    Args:
        name: `cpu`, `gpu`, `gpu:1` for the second GPU, or `auto` for the first GPU if there is one.

    Raises:
        UsageError: there is no such device, or TensorFlow already uses another one.
    """
    cards = tf.config.list_physical_devices("GPU")
    kind, _, number = name.partition(":")
    wanted = int(number or 0)
    if kind == "gpu" and wanted >= len(cards):
        raise UsageError(
            f"no {name}: TensorFlow sees {len(cards)} GPU(s); install tensorflow[and-cuda] and the driver, "
            "or use --device cpu"
        )
    chosen = [] if kind == "cpu" else cards[wanted : wanted + 1]
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        tf.config.set_visible_devices(chosen, "GPU")
        for card in chosen:
            tf.config.experimental.set_memory_growth(card, True)
    except RuntimeError:
        if tf.config.get_visible_devices("GPU") != chosen:
            raise UsageError(
                "TensorFlow computes on another device in this process already; choose the device first"
            ) from None


def uses_gpu() -> bool:
    """Return True if TensorFlow computes on a GPU in this process."""
    return bool(tf.config.get_visible_devices("GPU"))
