"""Recordings: list files, reading and cropping, packs, augmentation and the noises for it."""
