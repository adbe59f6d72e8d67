"""Terms beside a loss that keep a network well-behaved: keywords in, one value an example out."""
