"""Read and write single images: .npy, grey PNG and TIFF, and DICOM radiographs."""
