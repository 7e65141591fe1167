"""Everything computed in a hospital: queue, pipeline, imaging, segmentation, few-shot labels, triage."""
