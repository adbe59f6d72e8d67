"""GANs: a generator against a discriminator, and what each of the two may be made of."""
