"""Lightning modules: what is optimised, on which data, and how a run is watched."""
