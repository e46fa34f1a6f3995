"""What can go wrong from outside: kills, signals, full disks, flipped bits, races, and run folders of strangers."""
