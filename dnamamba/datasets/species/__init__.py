"""Windows of several genomes, labelled by species."""
