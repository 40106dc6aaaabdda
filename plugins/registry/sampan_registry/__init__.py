"""The registry that `sampan registry serve` runs: OCI's distribution specification 1.1 over the engine's store."""
