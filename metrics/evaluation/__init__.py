"""From images and a detector to scores, with what they are held against."""
