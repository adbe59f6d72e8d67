"""The mathematics of evaluation metrics; protocols are in `gan_jax.evaluation`."""
