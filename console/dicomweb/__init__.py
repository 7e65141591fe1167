"""DICOMweb: QIDO-RS, WADO-RS and STOW-RS (PS3.18 10) below /dicom-web."""
