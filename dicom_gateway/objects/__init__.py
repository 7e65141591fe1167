"""Every DICOM object that oncue writes: segmentations and structured reports."""
