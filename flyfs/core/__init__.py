"""The nouns of the field: blobs, pieces, manifests, names, errors; pure values without I/O."""
