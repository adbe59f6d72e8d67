"""Methods that join an autoencoder and a game: parts of `vae`, `gan` and their objectives."""
