"""Pictures, folders, slides and live streams enhanced by a trained network."""
