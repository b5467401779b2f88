"""What the node tells about itself: metrics and logs. Knows nothing of what it measures."""
