"""One training: a configuration and a seed go in, a learning curve comes out. Torch lives here."""
