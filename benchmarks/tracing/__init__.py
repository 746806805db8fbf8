"""Fact tracing: which training documents taught a small language model a fact?"""
