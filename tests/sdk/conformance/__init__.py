"""Official SDKs as judges of the sidecar: see ../README.md."""
