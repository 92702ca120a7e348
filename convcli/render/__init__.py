"""Text and pages for people: tables, shapes, reports, comparisons, progress. Rich is loaded for colour and the bar."""
