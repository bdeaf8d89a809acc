"""The benchmark suite: the same networks in every library, timed in turn. See ``workloads.py``."""
