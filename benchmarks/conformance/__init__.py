"""Our layers beside PyTorch's own module samples and the other peers, forward and backward."""
