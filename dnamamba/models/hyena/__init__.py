"""HyenaDNA: long convolutions with implicit filters, up to a fixed length (Nguyen et al. 2023)."""
