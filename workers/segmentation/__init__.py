"""Zero-shot tumour segmentation with a frozen latent diffusion model, "DiffuGTS-style".

After Jiang et al., "Advancing Generalizable Tumor Segmentation with Anomaly-Aware Open-Vocabulary Attention Maps and
Frozen Foundation Diffusion Models" (CVPR 2025). Arrays are ``[z, y, x]``; tensors ``[slice, channel, row, column]``.
"""
