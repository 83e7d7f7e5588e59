"""What the mounted tree looks like: names, inodes, attributes, open files; without FUSE."""
