"""How fast evo trains populations, compared with what users write themselves."""
