"""Which part of the input each tensor of a traced graph covers: crops, paddings, flips and swapped axes are followed."""
