"""How good the genome is that a method recommends after a number of trainings."""
