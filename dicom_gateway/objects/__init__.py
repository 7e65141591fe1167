"""The DICOM objects that oncue writes, one file per IOD: segmentation, structured report, parametric map."""
