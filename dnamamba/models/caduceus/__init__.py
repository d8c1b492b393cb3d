"""Caduceus: masked language models that read both ways, and both strands alike (Schiff et al. 2024)."""
