"""GANs: a generator and a discriminator, their networks, terms, augmentations and growth."""
