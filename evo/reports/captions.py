"""What the figures and tables of a report show and how it was found, in words."""

from __future__ import annotations

from evo.reports.importance import FOLDS, SHUFFLES, TREES

SPREAD = "Dots of choices and of a few whole numbers are spread out, so that they can be told apart."
CAPTIONS = {
    "progress": (
        "Progress",
        "Every evaluation as a dot at the number of its individual, the best so far as a line, failures as crosses.",
    ),
    "generations": (
        "Generations",
        "The members of every generation's population: range, quartiles and mean of their fitness; below, their "
        "diversity, the mean distance of two genomes (0: all alike, 1: as far apart as can be).",
    ),
    "genes-over-time": (
        "Each gene over the search",
        "The values of each gene that were tried, coloured by fitness. Green: that of the best genome so far. "
        + SPREAD,
    ),
    "genes": ("Fitness against each gene", "Fitness against each gene; later individuals are orange. " + SPREAD),
    "parallel": (
        "Parallel coordinates",
        "Each line is an individual, through the values of its genes to its fitness at the right; better ones are "
        "orange and lie above, green is the fittest. Of many, the best and some of the others are drawn.",
    ),
    "importance": ("Importance of the genes", "What a model of the fitness loses without each gene."),
    "curves": ("Learning curves", "Learning curves of the best genomes of the search."),
    "lineage": (
        "Lineage",
        "The line of the winner through its better parents, among all individuals (grey dots); grey lines lead to the "
        "other parents.",
    ),
    "operators": (
        "Operators",
        "How often the children of each operator are fitter than their best parent, with 95 % intervals, and how far "
        "from it they are.",
    ),
    "front": ("Pareto front", "All complete evaluations; those of the front are not dominated by any other."),
    "cost": ("Cost", "Time of training by the generation that an individual was proposed in, and its sum."),
    "timeline": ("Timeline", "What each worker trained when; better ones are orange, failures grey."),
}
"""Title and caption of each figure, by name."""

IMPORTANCE = (
    f"Permutation importance (Breiman, 2001) of a random forest of {TREES} trees that predicts the rank of the fitness "
    "from the genes: how much its R² falls on evaluations that it has not seen when a gene's values are shuffled, mean "
    f"and standard deviation over {FOLDS} folds of {SHUFFLES} shuffles. The search did not choose the evaluations at "
    "random: a gene that it hardly varied looks unimportant, and genes that went together share what they mean."
)
FINALISTS = "The finalists, trained again on new seeds. The winner is the one of the best mean fitness"
TESTED = ", and was named before the test set was read."
LINEAGE = (
    "At each step the parent of the higher fitness, what changed against it, and what that brought. Fitness is of a "
    "single training each, so small changes may be chance."
)
OPERATORS = (
    "Better: fitter than its best parent, of the children whose fitness and whose parent's are known (compared); low "
    "and high are the 95 % interval of the rate (Wilson). A parent is among the best of many, its child is one try: "
    "rates far below one half are usual. New bests: fitter than all before."
)
RACED = (
    "Genomes that were evaluated again on new seeds, in a race, rank by the mean of their evaluations and before all "
    "others: a single good result may be luck. Figures show first evaluations, whose best may have lost its race."
)
COMPARISON = (
    "The best genomes of each run. Test accuracy: mean over n trainings on new seeds, low and high its 95 % interval. "
    "Gap: the search's accuracy less test accuracy."
)
