"""Networks that restore images of any size: super-resolution and denoising.

Each maps [B, H, W, C] to [B, scale * H, scale * W, outputs], not clipped, and knows its `scale`,
its `context` (radius of the input pixels that an output pixel depends on) and its `multiple`
(divisor of the input's sides).
"""
