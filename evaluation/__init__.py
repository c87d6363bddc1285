"""Trial lists to scores and figures: embeddings and their store, cohorts, decisions."""
