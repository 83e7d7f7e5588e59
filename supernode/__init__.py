"""The coordinator and passive CDN of a swarm: who talks to whom, and the one who asks the origin."""
