"""cgroup managers."""
