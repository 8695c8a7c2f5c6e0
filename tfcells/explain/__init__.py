"""What a classifier looked at: maps over the picture, each with the checks that say whether it can be believed."""
