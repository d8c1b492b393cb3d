"""Programs that make the data files this package ships, or that its experiments download."""
