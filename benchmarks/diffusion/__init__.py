"""Which training images shaped this generated image? Exemplars and half-subsets as ground truth."""
