"""The Mamba-1 family (Gu and Dao 2023)."""
