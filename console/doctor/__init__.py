"""The doctor: a probe for each part of an installation, and the examination that runs them all."""
