"""Zero-shot segmentation on any foundation model's folder."""
