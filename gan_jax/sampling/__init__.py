"""What turns a trained generator into samples, beside a forward pass. Trains nothing."""
