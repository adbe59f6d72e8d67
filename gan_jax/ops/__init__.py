"""Operations on arrays: convolutions that are fast on CPU, resampling, colour spaces, JPEG.

No networks and no methods.
"""
