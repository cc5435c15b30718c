"""Fault injections, a module per group: `FAULTS` maps an id to a function that breaks one thing and looks at what follows.

A fault gets an empty folder to work in and returns, in a few words, what was seen. What must hold is asserted; an
AssertionError, or any other error, makes it FAIL with the error's words.
"""
