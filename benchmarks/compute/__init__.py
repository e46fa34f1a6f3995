"""What a search finds for so much compute: learning curves that can be paused, whose steps have a cost."""
