"""Weights in 4 or 8 bits for the GPU: activations stay in their dtype, products are in full width.

`engine.quantised.rounding` turns weights into codes, `engine.quantised.weight` is a layer's weight
in the layout of `engine.kernels.gemm`, `engine.quantised.kept_file` keeps them on disk. The int8
weights of a CPU, whose activations are rounded too, are `engine.native`'s.
"""
