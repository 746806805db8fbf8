"""Invented facts in a pretrained model: are the documents that taught one found?"""
