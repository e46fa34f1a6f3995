"""The commands of `evo`, by what they are about; heavy imports wait until one needs them."""
