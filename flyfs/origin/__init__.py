"""Where remote files live: HTTP, its listings, and which addresses may be asked."""
