"""Teams: the scripted ones, which are code, and all others, which are data: a gallery of ours and an operator's files.

A team's file names agents, words to say to models, limits, and names of models and tools that the operator has filled
the registries with. It cannot name code, a path or an address.
"""
