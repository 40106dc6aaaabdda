"""Where images are besides a registry: OCI layouts, Docker's archives, plain directories."""
