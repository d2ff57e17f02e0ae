"""Read and write single images: NumPy's .npy, and PNG with 8 or 16 bits."""
