"""Machine code written and run by the program itself: an assembler and memory that may be executed.

The room below the engine and the pictures; it knows neither.
"""
