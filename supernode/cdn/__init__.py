"""The passive CDN: asks origins once, proves what it got, and hands it out."""
