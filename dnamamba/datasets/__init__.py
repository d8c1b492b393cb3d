"""What a run reads: a data set per folder, one contract for all (base.py)."""
