"""The joints between stages: each step is used by the study and by a verb of the command line."""
