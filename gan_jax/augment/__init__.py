"""Image augmentation; all random draws of an example come from its own key."""
