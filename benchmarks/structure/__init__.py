"""The structure of evo's code, counted: parts, modules, imports, levels, cycles and lines of code."""
