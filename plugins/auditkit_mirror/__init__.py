"""The mirror audit: do the two directions of influence agree on this model?"""
