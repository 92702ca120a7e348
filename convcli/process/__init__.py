"""The process: what the system gives it, and the signals that end it (standard library only).

A room of its own: images, pipeline, render and the command all need it, and it must be there before anything that takes
time to load, because a signal that comes earlier ends in a traceback.
"""
