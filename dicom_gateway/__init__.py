"""Every DICOM socket, and every DICOM object that oncue writes: receiving, sending, objects, and the process of all."""
