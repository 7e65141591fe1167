"""A procedurally drawn head MR: volumes with a known lesion, and the DICOM study that holds them."""
