"""Networks that turn images into feature vectors, for metrics and perceptual losses."""
