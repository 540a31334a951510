"""Which image is it really: registries, digests, the image list."""
