"""One budget of bytes per second for all that flyfs does on a host: who may receive and send how much, and when."""
