"""Every DICOM socket, and every DICOM object that oncue writes."""
