"""From messy sources to a training set: collect, clean, check, split, with evidence for every item."""
