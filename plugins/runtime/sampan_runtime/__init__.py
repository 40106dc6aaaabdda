"""OCI runtimes: `native` is sampan's own."""
