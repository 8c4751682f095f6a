"""What the ARM64 targets share: models of CPUs, and the image with the runtimes."""
